"""A batch and a loop on Slurm whose jobs are real MPI ranks: they find each other, or they would never end."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from dagster_hpc import ExecutionProfile, HPCJobRunner, SlurmTarget
from dagster_hpc.dice import DiceSolver
from dagster_hpc.dice.layout import OUTPUT
from dagster_hpc.sqd import Molecule, run_sqd, sample_bitstrings
from tests.systems.slurm import SlurmCluster

fermion = pytest.importorskip("qiskit_addon_sqd.fermion")

N2 = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g", symmetry=True, active_space=(6, 6))
PROGRAM = Path(__file__).parents[1] / "dice" / "mpi_dice.py"
ROOT_MAY = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

pytestmark = [pytest.mark.needs("slurm"), pytest.mark.needs("mpi")]


@pytest.fixture
def dice(tmp_path: Path, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> DiceSolver:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    program = tmp_path / "mpi-dice"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {PROGRAM} "$@"\n')
    program.chmod(0o755)
    target = SlurmTarget(
        queue_cpu="cpu", project_cpu=slurm.account, executable_map={"dice": str(program)}, poll_interval=0.5
    )
    profile = ExecutionProfile(mpiprocs=2, launcher="mpirun", walltime="00:10:00", environments=ROOT_MAY)
    hpc = HPCJobRunner(target=target, profiles={"mpi": profile}, work_root=str(tmp_path / "work"))
    return DiceSolver(hpc=hpc, profile="mpi", executable="dice", fallback=False)


def ranks_in(work_dir: str | Path) -> int:
    return int(Path(work_dir, OUTPUT).read_text().split(" ranks met")[0].split()[-1])


def test_a_batch_is_solved_by_ranks_that_found_each_other(dice: DiceSolver) -> None:
    h, eri, _, norb, nelec = N2.integrals()
    strings = [bits for bits in range(1 << norb) if bits.bit_count() == 3]
    subspaces = [(strings, strings), (strings[:12], strings), (strings[:9], strings[:9])]

    runs = dice.runs(subspaces, h, eri, norb, nelec)

    expected = [fermion.solve_sci(tuple(map(np.array, one)), h, eri, norb, nelec).energy for one in subspaces]
    np.testing.assert_allclose([run.result.energy for run in runs], expected, atol=1e-8)
    assert [ranks_in(job.handle.work_dir) for run in runs for job in run.jobs] == [2, 2, 2]


def test_a_loop_is_that_of_one_process(dice: DiceSolver) -> None:
    bits = sample_bitstrings("uniform", N2, shots=500, seed=24)
    loop = {"samples_per_batch": 12, "num_batches": 2, "max_iterations": 2, "seed": 24, "initial_occupancies": "ccsd"}

    ours = run_sqd(N2, bits, sci_solver=dice, in_process_below=0, **loop)
    alone = run_sqd(N2, bits, sci_solver=dice, in_process_below=10_000, **loop)

    found, expected = ([one.energies for one in result.iterations] for result in (ours, alone))
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert (len(ours.jobs), len(alone.jobs)) == (4, 0)
    assert {job["state"] for job in ours.jobs} == {"COMPLETED"}
