"""Excitations of what matters lower the energy, never below full CI, and the same way each time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dagster_hpc import HPCJobRunner
from dagster_hpc.dice import DiceSolver
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd import Molecule, SQDResult, run_sqd, sample_bitstrings
from dagster_hpc.sqd.extended import excited, extend
from dagster_hpc.sqd.solver import SolverFailed
from tests.dice.test_solver import local_runner

fermion = pytest.importorskip("qiskit_addon_sqd.fermion")
hpc = pytest.fixture(local_runner, name="hpc")

N2 = Molecule(geometry="N 0 0 0; N 0 0 1.2", basis="6-31g", symmetry=True, active_space=(6, 6))


@pytest.fixture(scope="module")
def small() -> SQDResult:
    """Too few samples for the whole space."""
    bits = sample_bitstrings({"kind": "uniform", "right_particle_number": True}, N2, shots=200, seed=24)
    return run_sqd(N2, bits, samples_per_batch=4, seed=24, max_iterations=1)


@pytest.fixture(scope="module")
def exact() -> float:
    from pyscf import fci

    h, eri, _, norb, nelec = N2.integrals()
    return float(fci.direct_spin1.kernel(h, eri, norb, nelec)[0])


def test_the_energy_falls_and_stays_above_full_ci(small: SQDResult, exact: float) -> None:
    once, twice = extend(small, N2, rank=1), extend(small, N2, rank=2)
    assert exact - 1e-9 <= twice.energy <= once.energy < small.energy - 1e-3
    assert once.iterations[:-1] == small.iterations
    assert once.best is once.iterations[-1]
    assert once.best.number == len(small.iterations) + 1
    assert once.sci_state is not None
    assert once.spin_square == pytest.approx(once.sci_state.spin_square())
    assert extend(small, N2, rank=1).energy == once.energy


def test_again_and_again_it_comes_to_full_ci(small: SQDResult, exact: float) -> None:
    result = small
    for _ in range(4):
        result = extend(result, N2, threshold=0.0)
    assert result.energy == pytest.approx(exact, abs=1e-8)


def test_so_many_strings_at_most(small: SQDResult) -> None:
    limited = extend(small, N2, max_dim=12)
    assert max(limited.best.subspaces[0]) == 12
    assert limited.energy <= small.energy
    kept = extend(small, N2, max_dim=1)
    assert kept.iterations[-1].subspaces[0] == small.iterations[-1].subspaces[0]
    assert kept.energy == pytest.approx(small.energy)


def test_as_a_job(small: SQDResult, hpc: HPCJobRunner) -> None:
    dice = DiceSolver(hpc=hpc, select_cutoff=None)
    larger, here = extend(small, N2, sci_solver=dice, in_process_below=0), extend(small, N2, sci_solver=dice)
    assert larger.energy == pytest.approx(here.energy, abs=1e-8)
    assert (len(larger.best.jobs), larger.best.in_process) == (1, 0)
    assert (len(here.best.jobs), here.best.in_process) == (0, 1)


def test_a_solver_without_a_state_gave_strings_to_excite(small: SQDResult) -> None:
    larger = extend(replace(small, sci_state=None), N2)
    assert larger.energy <= small.energy


def test_a_higher_energy_is_no_answer(small: SQDResult) -> None:
    def wrong(*asked: Any) -> Any:
        return [replace(one, energy=small.energy + 0.1) for one in fermion.solve_sci_batch(*asked)]

    with pytest.raises(SolverFailed, match="missed the lowest state"):
        extend(small, N2, sci_solver=wrong)


def test_all_faults_are_in_one_message(small: SQDResult) -> None:
    other = Molecule(geometry="N 0 0 0; N 0 0 1.2", basis="6-31g", active_space=(4, 4))
    wrong: dict[str, Any] = {"rank": 3, "threshold": 2.0, "thresold": 1}
    with pytest.raises(ConfigurationError) as error:
        extend(small, other, **wrong)
    assert len(error.value.faults) == 4


@pytest.mark.parametrize("norb", [4, 70])
def test_excitations_of_a_string(norb: int) -> None:
    top = 1 << (norb - 1)
    once = excited([0b11], norb)
    assert once[0] == 0b11
    assert len(set(once.tolist())) == len(once) == 1 + 2 * (norb - 2)
    assert top + 1 in once.tolist()
    assert all(int(one).bit_count() == 2 for one in once)
    twice = excited([0b11], norb, 2)
    assert len(twice) == norb * (norb - 1) // 2
    assert twice.dtype == (object if norb > 63 else np.int64)
