"""The solver inside of qiskit-addon-sqd's own loop."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from dagster_hpc import HPCJobRunner
from dagster_hpc.dice import DiceResult, DiceRun, DiceSolver
from tests.dice.test_solver import local_runner

hpc = pytest.fixture(local_runner, name="hpc")
NORB, NELEC = 6, (3, 3)


@lru_cache
def n2() -> tuple[np.ndarray, np.ndarray]:
    """The six valence p orbitals of N2 and their electrons. `Molecule` has the same ones in every process."""
    from dagster_hpc.sqd import Molecule

    integrals = Molecule(geometry="N 0 0 0; N 0 0 1.2", basis="sto-3g", active_space=(sum(NELEC), NORB)).integrals()
    return integrals.one_body, integrals.two_body


@lru_cache
def full_matrix() -> np.ndarray:
    """The Hamiltonian among all determinants."""
    from pyscf import fci

    size = fci.cistring.num_strings(NORB, NELEC[0]) ** 2
    address, matrix = fci.direct_spin1.pspace(*n2(), NORB, NELEC, np=size)
    matrix[np.ix_(address, address)] = matrix.copy()
    return matrix


def exact(result: DiceResult) -> float:
    """The lowest eigenvalue among the products of a result's strings."""
    from pyscf import fci

    a, b = (fci.cistring.strs2addr(NORB, 3, strings) for strings in (result.strings_a, result.strings_b))
    rows = (a[:, None] * fci.cistring.num_strings(NORB, 3) + b).ravel()
    return float(np.linalg.eigvalsh(full_matrix()[np.ix_(rows, rows)])[0])


def sqd(**options: Any) -> Any:
    from qiskit_addon_sqd.fermion import diagonalize_fermionic_hamiltonian

    bits = np.random.default_rng(3).integers(0, 2, (300, 2 * NORB)).astype(bool)
    return diagonalize_fermionic_hamiltonian(
        *n2(), bits, samples_per_batch=6, norb=NORB, nelec=NELEC, num_batches=2, max_iterations=3, seed=11, **options
    )


def test_the_same_seed_gives_the_same_answer(hpc: HPCJobRunner) -> None:
    seen: list[list[DiceRun]] = []
    energies: list[list[float]] = []
    own = sqd(callback=lambda results: energies.append([result.energy for result in results]))

    ours = DiceSolver(hpc=hpc).as_sci_solver(on_runs=seen.append)
    result = sqd(sci_solver=ours)

    # Of a sparse subspace PySCF, started from its default guess, may find a state that is not the lowest. Ours may not.
    lowest = [[exact(run.result) for run in runs] for runs in seen]
    assert [[run.result.energy for run in runs] for runs in seen] == [pytest.approx(each, abs=1e-8) for each in lowest]
    assert len(energies) == len(lowest)
    assert (np.array(lowest) < np.array(energies) + 1e-8).all()
    assert result.energy == pytest.approx(own.energy, abs=1e-8)
    assert np.allclose(result.orbital_occupancies, own.orbital_occupancies, atol=1e-5)
    overlap = np.vdot(result.sci_state.amplitudes, own.sci_state.amplitudes)
    assert abs(overlap) == pytest.approx(1, abs=1e-8)
    assert [len(jobs) for jobs in ours.jobs] == [2] * len(seen)
    arrays = {hpc.target.scheduler.array_id(job.handle.job_id or "") for jobs in ours.jobs for job in jobs}
    assert len(arrays) == len(seen)


def test_without_a_state_the_strings_are_carried_over(hpc: HPCJobRunner) -> None:
    own = sqd()
    result = sqd(sci_solver=DiceSolver(hpc=hpc, return_sci_state=False).as_sci_solver())
    assert result.sci_state is None
    assert result.energy == pytest.approx(own.energy, abs=1e-8)


def test_a_loop_in_an_asset_knows_its_jobs(hpc: HPCJobRunner, tmp_path: Path) -> None:
    @dg.asset
    def energy(context: dg.AssetExecutionContext, dice: DiceSolver) -> float:
        return float(sqd(sci_solver=dice.as_sci_solver(context)).energy)

    done = dg.materialize([energy], resources={"dice": DiceSolver(hpc=hpc)})
    assert done.output_for_node("energy") == pytest.approx(sqd().energy, abs=1e-8)
    assert {row.asset_key for row in hpc.jobs()} == {"energy"}


def test_a_key_lets_the_loop_find_its_jobs_again(hpc: HPCJobRunner) -> None:
    dice = DiceSolver(hpc=hpc)
    first, second = (sqd(sci_solver=dice.as_sci_solver(key="n2", reuse="succeeded")).energy for _ in range(2))
    assert first == second
    identities = [row.identity for row in hpc.jobs(limit=None)]  # each subspace of an iteration has its own
    assert len(set(identities)) == len(identities)
