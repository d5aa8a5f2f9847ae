"""Who diagonalizes: the step itself where a subspace is small, jobs where it is not; all of it from one seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget
from dagster_hpc.diagonalization.davidson import EigenError
from dagster_hpc.dice import DiceSolver
from dagster_hpc.electrons.fcidump import integrals_of
from dagster_hpc.electrons.hamiltonian import hamiltonian_matrix
from dagster_hpc.electrons.space import DeterminantSpace
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd import Molecule, Samples, run_sqd, sample_bitstrings
from dagster_hpc.sqd.files import from_bytes, to_bytes
from dagster_hpc.sqd.metadata import sqd_metadata
from dagster_hpc.sqd.molecule import signature_of
from dagster_hpc.sqd.solver import Solver, SolverFailed
from dagster_hpc.subspace import SolverRun, StatelessResult

fermion = pytest.importorskip("qiskit_addon_sqd.fermion")
TrimPolicy = pytest.importorskip("qiskit_addon_sqd.trim").TrimPolicy

N2 = Molecule(geometry="N 0 0 0; N 0 0 1.2", basis="6-31g", symmetry=True, active_space=(6, 6))
LOOP: dict[str, Any] = {"samples_per_batch": 6, "num_batches": 2, "seed": 24, "max_iterations": 2}


def bits() -> Any:
    return sample_bitstrings("uniform", N2, shots=200, seed=24)


def exact(subspaces: list[Any], h: Any, eri: Any, norb: int, nelec: tuple[int, int]) -> list[Any]:
    """By LAPACK: PySCF's Davidson takes the second state of some of these subspaces, 2e-5 Hartree higher, for the first."""
    integrals, results = integrals_of(h, eri), []
    for strings in subspaces:
        rows = [(np.asarray(one)[:, None] >> np.arange(norb) & 1).astype(bool) for one in strings]
        energies, vectors = np.linalg.eigh(hamiltonian_matrix(DeterminantSpace.product(*rows), integrals).toarray())
        amplitudes = vectors[:, 0].reshape(len(rows[0]), len(rows[1]))
        state = fermion.SCIState(amplitudes, *map(np.asarray, strings), norb, nelec)
        results.append(fermion.SCIResult(float(energies[0]), state, state.orbital_occupancies()))
    return results


@pytest.fixture
def dice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiceSolver:
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    profiles = {"dice": ExecutionProfile(ompthreads=1)}
    hpc = HPCJobRunner(target=LocalTarget(), profiles=profiles, work_root=str(tmp_path / "work"))
    return DiceSolver(hpc=hpc, profile="dice")


def test_small_subspaces_need_no_job(dice: DiceSolver) -> None:
    ours, theirs = (run_sqd(N2, bits(), sci_solver=solver, **LOOP) for solver in (dice, exact))
    assert ours.jobs == ()
    assert [one.in_process for one in ours.iterations] == [2, 2]
    assert [one.energies for one in ours.iterations] == [
        pytest.approx(one.energies, abs=1e-8) for one in theirs.iterations
    ]
    assert ours.spin_square == pytest.approx(theirs.spin_square, abs=1e-5)
    assert ours.determinants == theirs.determinants


def test_large_ones_are_jobs_and_small_ones_beside_them_are_not(dice: DiceSolver) -> None:
    """Both in one iteration: answers come back in the order of the subspaces."""
    theirs = run_sqd(N2, bits(), sci_solver=exact, **LOOP)
    sizes = sorted({a * b for one in theirs.iterations for a, b in one.subspaces})
    ours = run_sqd(N2, bits(), sci_solver=dice, in_process_below=sizes[-1], **LOOP)
    assert [one.energies for one in ours.iterations] == [
        pytest.approx(one.energies, abs=1e-8) for one in theirs.iterations
    ]
    assert 0 < sum(one.in_process for one in ours.iterations) < 4
    assert len(ours.jobs) == 4 - sum(one.in_process for one in ours.iterations)


def test_a_solver_that_adds_determinants_gets_all_subspaces(dice: DiceSolver) -> None:
    grown = run_sqd(N2, bits(), sci_solver=dice.model_copy(update={"select_cutoff": 1e-2}), **{**LOOP, "max_iterations": 1})
    assert len(grown.jobs) == 2
    assert grown.determinants > grown.best.largest_subspace


def test_the_loops_seed_is_the_solvers(dice: DiceSolver) -> None:
    def seeds(solver: DiceSolver, seed: int) -> list[Any]:
        made = Solver(solver, None, {}, seed, None, 0)
        return [made.seeded(number).seed for number in (1, 2)]  # type: ignore[attr-defined]

    first = seeds(dice, 24)
    assert first == seeds(dice, 24)
    assert len({*first, *seeds(dice, 25)}) == 4
    assert all(0 <= one < 2**31 for one in first)
    assert seeds(dice.model_copy(update={"seed": 7}), 24) == [7, 7]  # one of its own stays


def test_the_seed_of_a_job_follows_from_the_loops(dice: DiceSolver) -> None:
    run_sqd(N2, bits(), sci_solver=dice, in_process_below=0, **{**LOOP, "max_iterations": 1})
    written = {path.read_text() for path in Path(dice.hpc.work_root).rglob("input.dat")}
    (text,) = written
    expected = Solver(dice, None, {}, 24, None, 0).seeded(1).seed  # type: ignore[attr-defined]
    assert f"seed {expected}" in text


def test_another_program_is_another_calculation(dice: DiceSolver, tmp_path: Path) -> None:
    """Under the same key of the target there may be another Dice tomorrow."""
    names = set()
    for path in ("/apps/dice-1", "/apps/dice-2"):
        target = LocalTarget(executable_map={"dice": path})
        hpc = HPCJobRunner(target=target, profiles=dice.hpc.profiles, work_root=dice.hpc.work_root)
        solver = DiceSolver(hpc=hpc, profile="dice", executable="dice")
        run_sqd(N2, bits(), sci_solver=solver, state_dir=tmp_path / "state", **{**LOOP, "max_iterations": 1})
        names = {folder.name for folder in (tmp_path / "state").iterdir()}
    assert len(names) == 2


def test_the_rounds_of_a_policy_are_jobs_of_their_own(dice: DiceSolver, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"policy": TrimPolicy(trim_ratio=0.5), **LOOP, "max_iterations": 1}
    ours = run_sqd(N2, bits(), sci_solver=dice, in_process_below=0, state_dir=tmp_path / "state", **asked)
    assert ours.iterations[0].rounds == 2
    assert len({job["token"] for job in ours.jobs}) == 3  # two batches, and what survived of them
    # Of strings that weigh the same by symmetry, the last digit decides which of them survive.
    assert ours.energy == pytest.approx(run_sqd(N2, bits(), **asked).energy, abs=1e-3)


class Stateless(DiceSolver):
    """As a solver that keeps a distributed state to itself: it says what to carry over, and no more."""

    def runs(self, ci_strings: Any, *asked: Any, **how: Any) -> Any:
        policy = fermion.StandardPolicy()
        found = exact(ci_strings, *asked)
        return [
            SolverRun(StatelessResult(one.energy, one.orbital_occupancies, policy.select_carryover(one)), (), "stateless")
            for one in found
        ]


def test_answers_without_a_state_are_answers(dice: DiceSolver, tmp_path: Path) -> None:
    solver = Stateless(hpc=dice.hpc, profile="dice")
    asked: dict[str, Any] = {"sci_solver": solver, "in_process_below": 0, "state_dir": tmp_path / "state", **LOOP}
    ours, theirs = run_sqd(N2, bits(), **asked), run_sqd(N2, bits(), sci_solver=exact, **LOOP)
    assert [one.energies for one in ours.iterations] == [one.energies for one in theirs.iterations]
    assert (ours.sci_state, ours.spin_square) == (None, None)
    assert ours.determinants == ours.best.largest_subspace
    assert run_sqd(N2, bits(), **asked).resumed == 2
    assert sqd_metadata(ours)["spin_square"].value is None
    back = from_bytes(to_bytes(ours))
    assert (back.sci_state, back.spin_square, back.energy) == (None, None, ours.energy)


def test_a_subspace_that_is_not_solved_here_is_said(dice: DiceSolver, monkeypatch: pytest.MonkeyPatch) -> None:
    def hopeless(*asked: Any, **how: Any) -> Any:
        raise EigenError("Davidson is not converged")

    monkeypatch.setattr("dagster_hpc.diagonalization.solve_product", hopeless)
    with pytest.raises(SolverFailed, match="Davidson is not converged"):
        run_sqd(N2, bits(), sci_solver=dice, **LOOP)


def test_samples_of_another_hamiltonian_are_refused() -> None:
    integrals = N2.integrals()
    samples = Samples(bits(), 6, (3, 3), 24, {"kind": "uniform"}, signature_of(integrals))
    known, unknown = (run_sqd(N2, one, sci_solver=exact, **LOOP).energy for one in (samples, bits()))
    assert known == unknown
    other = integrals._replace(one_body=integrals.one_body[::-1, ::-1])
    with pytest.raises(ConfigurationError, match="belong to another Hamiltonian"):
        run_sqd(other, samples, **LOOP)
    run_sqd(other, replace(samples, hamiltonian=""), **LOOP)  # stored before samples knew theirs


O2 = Molecule(geometry="O 0 0 0; O 0 0 1.21", basis="sto-3g", spin=0, symmetry=True, frozen_core=2)


@pytest.mark.parametrize("in_process_below", [0, 10_000])
@pytest.mark.parametrize("by", ["loop", "solver"])
def test_a_wanted_spin_reaches_the_solver(dice: DiceSolver, in_process_below: int, by: str) -> None:
    """As jobs and in the step; of the loop, or as the solver's own field. The lowest state would be a triplet."""
    shots = sample_bitstrings("uniform", O2, shots=300, seed=24)
    wish: dict[str, Any] = {"sci_solver": dice, "spin_sq": 0.0}
    if by == "solver":
        wish = {"sci_solver": dice.model_copy(update={"spin_sq": 0.0})}
    result = run_sqd(
        O2, shots, samples_per_batch=12, seed=24, max_iterations=1, symmetrize_spin=True, initial_occupancies="hf",
        in_process_below=in_process_below, **wish,
    )  # fmt: skip
    assert result.spin_square == pytest.approx(0, abs=0.05)
    assert result.spin_sq == 0.0


def test_a_triplet_that_only_has_alpha_electrons_is_solved_here(dice: DiceSolver) -> None:
    """One spin only: there is nothing to penalise, and no pair of strings to mix."""
    quintet = Molecule(geometry="H 0 0 0; H 0 0 1; H 0 0 2; H 0 0 3", basis="sto-3g", spin=4)
    shots = np.array([[0, 0, 0, 0, 1, 1, 1, 1]], bool)
    result = run_sqd(quintet, shots, samples_per_batch=1, seed=1, spin_sq=6.0, sci_solver=dice, max_iterations=1)
    assert result.spin_square == pytest.approx(6)
    assert result.total_energy == pytest.approx(quintet.hf_energy(), abs=1e-8)
