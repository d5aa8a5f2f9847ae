"""The values of the assets as Dagster types: what is no result of its kind, or none to believe, fails the step."""

from __future__ import annotations

import sys
from typing import Any

import dagster as dg
import numpy as np

from dagster_hpc.dice.result import DiceResult
from dagster_hpc.dice.validation import NORM_LIMIT


def _check_dice_result(context: object, value: object) -> dg.TypeCheck:
    if not isinstance(value, DiceResult):
        return dg.TypeCheck(False, f"a DiceResult was expected, not {type(value).__name__}")
    faults = [f"the check {check.name} failed: {check.sentence}" for check in value.checks if check.passed is False]
    faults += _number_faults(value.energy, value.coefficients, value.orbital_occupancies, value.norb, value.nelec)
    return _type_check(faults)


def _check_sci_result(context: object, value: object) -> dg.TypeCheck:
    fermion = sys.modules.get("qiskit_addon_sqd.fermion")  # whoever has such a value has imported it
    if fermion is None or not isinstance(value, fermion.SCIResult):
        return dg.TypeCheck(False, f"a qiskit-addon-sqd SCIResult was expected, not {type(value).__name__}")
    state = value.sci_state
    if state is None:
        faults = [] if getattr(value, "carryover", None) is not None else ["it has neither a state nor a carryover"]
        faults += [] if np.isfinite(value.energy) else [f"the energy is {value.energy}"]
        return _type_check(faults)
    nelec = (int(state.nelec[0]), int(state.nelec[1]))
    return _type_check(
        _number_faults(value.energy, np.ravel(state.amplitudes), value.orbital_occupancies, int(state.norb), nelec)
    )


def _number_faults(energy: float, coefficients: Any, occupancies: Any, norb: int, nelec: tuple[int, int]) -> list[str]:
    faults = [] if np.isfinite(energy) else [f"the energy is {energy}"]
    norm = float(np.vdot(coefficients, coefficients).real)
    if not abs(norm - 1) <= max(NORM_LIMIT, 1e-6):
        faults.append(f"the squared coefficients sum up to {norm:.8g} instead of 1")
    for spin, given, electrons in zip(("alpha", "beta"), occupancies, nelec, strict=True):
        if np.shape(given) != (norb,):
            faults.append(f"the {spin} occupancies are of shape {np.shape(given)} instead of ({norb},)")
        elif not abs(float(np.sum(given)) - electrons) <= 1e-5:
            faults.append(f"the {spin} occupancies sum up to {float(np.sum(given)):.6f} instead of {electrons}")
    return faults


def _type_check(faults: list[str]) -> dg.TypeCheck:
    return dg.TypeCheck(not faults, "; ".join(faults) or None)


DiceResultType = dg.DagsterType(
    name="DiceResult",
    type_check_fn=_check_dice_result,
    typing_type=DiceResult,
    description="A selected-CI state with its energy, normalised, with the right electrons, all checks passed.",
)
SCIResultType = dg.DagsterType(
    name="SCIResult",
    type_check_fn=_check_sci_result,
    description="qiskit-addon-sqd's result of a selected-CI calculation, normalised, with the right electrons.",
)
