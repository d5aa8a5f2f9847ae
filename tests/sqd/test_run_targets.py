"""N2 in 6-31G with diagonalizations as jobs: the answers of qiskit-addon-sqd's own solver with the same seed.

Only the two 1s orbitals are frozen: ten electrons in sixteen orbitals. `max_dim` keeps the subspaces small.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget, SlurmTarget
from dagster_hpc.dice import DiceSolver
from dagster_hpc.engine.ledger import Ledger
from dagster_hpc.resources.targets import HPCTarget
from dagster_hpc.sqd import Molecule, SQDResult, run_sqd, sample_bitstrings
from dagster_hpc.sqd.state import State
from tests.systems.daemon import wait_until
from tests.systems.needs import REPOSITORY
from tests.systems.slurm import SlurmCluster

fermion = pytest.importorskip("qiskit_addon_sqd.fermion")

N2 = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g", symmetry=True, frozen_core=2)
SEED = 24
LOOP: dict[str, Any] = {
    "samples_per_batch": 40, "num_batches": 2, "seed": SEED, "max_iterations": 12, "symmetrize_spin": True, "max_dim": 40,
}  # fmt: skip
SOURCES = {"uniform": {"kind": "uniform"}, "lucj": {"kind": "lucj", "depolarizing": 0.3}}


def dice(target: HPCTarget, work: Path, **profile: Any) -> DiceSolver:
    profiles = {"dice": ExecutionProfile(ompthreads=1, walltime="00:10:00", **profile)}
    hpc = HPCJobRunner(target=target, profiles=profiles, work_root=str(work))
    return DiceSolver(hpc=hpc, profile="dice")


def agrees(source: str, solver: DiceSolver, state: Path) -> None:
    if source == "lucj":
        pytest.importorskip("ffsim")
    bits = sample_bitstrings(SOURCES[source], N2, shots=1500, seed=SEED)
    ours = run_sqd(
        N2, bits, sci_solver=solver, in_process_below=0, initial_occupancies="ccsd", state_dir=state, **LOOP
    )

    h, eri, _, norb, nelec = N2.integrals()
    theirs: list[list[float]] = []
    result = fermion.diagonalize_fermionic_hamiltonian(
        h, eri, bits, norb=norb, nelec=nelec, initial_occupancies=N2.initial_occupancies(),
        callback=lambda results: theirs.append([float(one.energy) for one in results]), **LOOP,
    )  # fmt: skip
    assert ours.converged
    assert ours.energy == pytest.approx(result.energy, abs=1e-8)
    assert len(ours.iterations) == len(theirs)
    np.testing.assert_allclose([one.energies for one in ours.iterations], theirs, atol=1e-8)
    assert ours.spin_square == pytest.approx(result.sci_state.spin_square(), abs=1e-5)
    assert len(ours.jobs) == 2 * len(theirs)
    assert ours.node_hours is not None
    assert ours.node_hours_per_millihartree is not None


@pytest.mark.parametrize("source", SOURCES)
def test_on_the_local_target(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    agrees(source, dice(LocalTarget(), tmp_path / "work"), tmp_path / "state")


@pytest.mark.needs("slurm")
@pytest.mark.parametrize("source", SOURCES)
def test_on_slurm_with_ranks(source: str, tmp_path: Path, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    target = SlurmTarget(queue_cpu="cpu", project_cpu=slurm.account)
    agrees(source, dice(target, tmp_path / "work", mpiprocs=2, launcher="srun"), tmp_path / "state")


def test_jobs_that_ended_before_the_crash_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the end of the jobs and the record of the iteration."""
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    solver = dice(LocalTarget(), tmp_path / "work")
    bits = sample_bitstrings("uniform", N2, shots=300, seed=SEED)
    asked: dict[str, Any] = {
        **LOOP, "max_dim": 15, "max_iterations": 2, "initial_occupancies": "hf", "state_dir": tmp_path / "state",
        "sci_solver": solver, "reuse": "succeeded", "in_process_below": 0,
    }  # fmt: skip
    written = State.write

    def dies_in_second(self: State, iteration: Any, *rest: Any, **named: Any) -> None:
        if iteration.number == 2:
            raise KeyboardInterrupt
        written(self, iteration, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(State, "write", dies_in_second)
        with pytest.raises(KeyboardInterrupt):
            run_sqd(N2, bits, **asked)
    before = {job.token for job in solver.hpc.jobs()}
    result = run_sqd(N2, bits, **asked)
    assert result.resumed == 1
    assert {job.token for job in solver.hpc.jobs()} == before
    assert {job["token"] for job in result.jobs} == before


PROGRAM = """
import sys
from pathlib import Path
from tests.sqd.test_run_targets import small_loop
print(repr(small_loop(Path(sys.argv[1])).energy))
"""


def small_loop(folder: Path) -> SQDResult:
    bits = sample_bitstrings("uniform", N2, shots=300, seed=SEED)
    return run_sqd(
        N2, bits, sci_solver=dice(LocalTarget(), folder / "work"), state_dir=folder / "state", reuse="succeeded",
        initial_occupancies="hf", in_process_below=0, **{**LOOP, "max_dim": 15, "max_iterations": 3},
    )  # fmt: skip


def test_killed_while_its_jobs_run_another_process_joins_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    undisturbed = run_sqd(
        N2, sample_bitstrings("uniform", N2, shots=300, seed=SEED), initial_occupancies="hf",
        **{**LOOP, "max_dim": 15, "max_iterations": 3},
    )  # fmt: skip
    ledger = Ledger()

    def second_iteration_runs() -> bool:  # one that was only claimed is claimed anew, and this is not about that
        return len(ledger.jobs()) >= 4 and any(job.job_id for job in ledger.jobs(live=True))

    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=REPOSITORY)
    try:
        wait_until(second_iteration_runs, 60, lambda: "no second iteration")
    finally:
        process.kill()
        process.wait()
    second = {job.batch for job in ledger.jobs()}
    assert len(second) == 2
    result = small_loop(tmp_path)
    assert result.resumed == 1
    assert result.energy == pytest.approx(undisturbed.energy, abs=1e-8)
    batches = {job.batch for job in ledger.jobs()}
    ledger.close()
    assert second < batches
    assert len(batches) == len(result.iterations)  # no iteration was paid twice
