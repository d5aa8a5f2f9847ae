"""The values of the assets as Dagster types: what is no value of its kind fails the step."""

from __future__ import annotations

from math import isfinite
from typing import Any

import dagster as dg

from dagster_hpc.sqd.values import Hamiltonian, Samples, SQDResult


def _check_hamiltonian(_: Any, value: Any) -> dg.TypeCheck:
    if not isinstance(value, Hamiltonian):
        return dg.TypeCheck(False, f"a {type(value).__name__} is no Hamiltonian")
    if not isfinite(value.reference_energy) or "&END" not in value.fcidump.upper():
        return dg.TypeCheck(False, "a Hamiltonian needs a finite reference energy and the text of an FCIDUMP")
    return dg.TypeCheck(True)


def _check_samples(_: Any, value: Any) -> dg.TypeCheck:
    if not isinstance(value, Samples):
        return dg.TypeCheck(False, f"a {type(value).__name__} is no Samples")
    bits = value.bitstrings
    if bits.dtype != bool or bits.ndim != 2 or not len(bits) or bits.shape[1] != 2 * value.norb:
        return dg.TypeCheck(False, f"{bits.dtype} of shape {bits.shape} are no bitstrings of {value.norb} orbitals")
    return dg.TypeCheck(True)


def _check_result(_: Any, value: Any) -> dg.TypeCheck:
    if not isinstance(value, SQDResult):
        return dg.TypeCheck(False, f"a {type(value).__name__} is no SQDResult")
    if not isfinite(value.energy) or not value.iterations:
        return dg.TypeCheck(False, "an SQDResult needs a finite energy and at least one iteration")
    return dg.TypeCheck(True)


HamiltonianType = dg.DagsterType(_check_hamiltonian, name="Hamiltonian", typing_type=Hamiltonian)
SamplesType = dg.DagsterType(_check_samples, name="Samples", typing_type=Samples)
SQDResultType = dg.DagsterType(_check_result, name="SQDResult", typing_type=SQDResult)
