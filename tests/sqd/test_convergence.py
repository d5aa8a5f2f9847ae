"""What recovery had to do and how the subspace grew stand beside the energy; and are asked when it stays."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import comb
from typing import Any

import numpy as np
import pytest

from dagster_hpc.sqd import Molecule, SQDResult, run_sqd, sample_bitstrings
from dagster_hpc.sqd.checks import Finding, findings
from dagster_hpc.sqd.metadata import sqd_metadata

pytest.importorskip("qiskit_addon_sqd.fermion")

N2 = Molecule(geometry="N 0 0 0; N 0 0 1.2", basis="6-31g", symmetry=True, active_space=(6, 6))
RIGHT = {"kind": "uniform", "right_particle_number": True}


@cache
def sqd(source: str = "noisy", **changed: Any) -> SQDResult:
    bits = sample_bitstrings("uniform" if source == "noisy" else RIGHT, N2, shots=120, seed=24)
    if source == "few":  # as a circuit without noise, whose few strings come again and again
        bits = np.repeat(bits[:5], 20, axis=0)
    asked: dict[str, Any] = {"samples_per_batch": 6, "num_batches": 2, "seed": 24, "max_iterations": 4, **changed}
    return run_sqd(N2, bits, **asked)


def finding(name: str, result: SQDResult, **how: Any) -> Finding:
    return next(one for one in findings(result, **how) if one.name == name)


def test_converged_with_nothing_to_recover_is_a_warning() -> None:
    result = sqd("few", initial_occupancies="hf")
    assert result.converged
    found = finding("recovery", result)
    assert not found.passed
    assert found.sentence.startswith("converged with nothing to recover: all shots have the right electrons")
    assert "5 different configurations" in found.sentence


def test_recovery_that_changes_shots_passes() -> None:
    result = sqd()
    assert finding("recovery", result).passed
    bits = sample_bitstrings("uniform", N2, shots=120, seed=24)
    wrong = np.mean((bits[:, :6].sum(axis=1) != 3) | (bits[:, 6:].sum(axis=1) != 3))
    assert result.iterations[0].recovered == 0  # without occupancies, shots with other electrons are left out
    assert [one.recovered for one in result.iterations[1:]] == pytest.approx([wrong] * 3)
    assert result.iterations[0].made == 0
    assert all(one.made is not None and one.made > 0 for one in result.iterations[1:])


def test_a_loop_that_ends_before_recovery_says_so() -> None:
    found = finding("recovery", sqd(max_iterations=1))
    assert not found.passed
    assert "recovery begins with the second iteration" in found.sentence


def test_in_a_complete_space_there_is_nothing_to_recover() -> None:
    result = sqd("right", samples_per_batch=120, symmetrize_spin=True)
    assert result.complete
    assert result.determinants == comb(6, 3) ** 2
    assert finding("recovery", result).passed


def test_new_strings_are_those_that_no_subspace_had_before() -> None:
    result = sqd()
    for spin in (0, 1):
        new = np.concatenate([one.new_strings[spin] for one in result.iterations])
        assert len(new) == len(set(new.tolist())) <= comb(6, 3)
        assert len(result.iterations[0].new_strings[spin]) >= result.iterations[0].subspaces[0][spin]


def test_the_table_shows_them_beside_the_energy() -> None:
    result = sqd()
    rows = [row.data for row in sqd_metadata(result)["convergence"].records]  # type: ignore[attr-defined]
    assert [row["samples"] for row in rows] == [one.samples for one in result.iterations]
    new = [" + ".join(str(len(part)) for part in one.new_strings) for one in result.iterations]
    assert [row["new_strings"] for row in rows] == new
    assert rows[1]["recovered"] == pytest.approx(result.iterations[1].recovered, abs=1e-9)


@pytest.mark.parametrize(("above", "passed"), [(0.01, False), (-0.01, True)])
def test_an_energy_above_that_of_ccsd_is_a_warning(above: float, passed: bool) -> None:
    result = sqd()
    found = finding("below_ccsd", result, ccsd_energy=result.total_energy - above)
    assert found.passed is passed
    assert passed or "10.00 mHa above CCSD's" in found.sentence


def test_ccsd_below_the_exact_energy_is_none() -> None:
    """CCSD is not variational: with all determinants it is CCSD that is wrong."""
    result = sqd("right", samples_per_batch=120, symmetrize_spin=True)
    assert finding("below_ccsd", result, ccsd_energy=result.total_energy - 0.01).passed


def test_ccsd_that_does_not_converge_is_no_measure() -> None:
    assert finding("below_ccsd", sqd()).sentence == "unknown: CCSD did not converge"


def test_a_result_of_version_0_1_is_judged_by_what_it_has() -> None:
    result = sqd()
    old = [replace(one, recovered=None, made=None, samples=None, right_shots=None) for one in result.iterations]
    assert finding("recovery", replace(result, iterations=tuple(old))).passed


@pytest.mark.parametrize(("source", "reached"), [({"kind": "lucj", "depolarizing": 0.2}, True), ({"kind": "lucj"}, False)])
def test_a_point_of_the_documented_curve(source: dict[str, Any], reached: bool) -> None:
    """It reaches the exact energy, which it owes to the noise; without, that nothing was recovered is said."""
    pytest.importorskip("ffsim")
    from pyscf import fci

    molecule = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g", symmetry=True, active_space=(10, 10))
    h, eri, core, norb, nelec = molecule.integrals()
    exact = float(fci.direct_spin1.FCI().kernel(h, eri, norb, nelec)[0]) + core
    result = run_sqd(
        molecule, sample_bitstrings(source, molecule, shots=5000, seed=24), seed=24, samples_per_batch=150, num_batches=2,
        max_iterations=2, symmetrize_spin=True, initial_occupancies="ccsd",
    )  # fmt: skip
    assert (result.total_energy - exact < 1e-3) is reached
    assert finding("recovery", result).passed is reached
