"""Ranks are really started: by Open MPI and by srun, as many as the profile says, where it says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, HPCTarget, LocalTarget, SGETarget, SlurmTarget
from tests.systems.sge import GridEngine
from tests.systems.slurm import SlurmCluster

ROOT_MAY = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def run_ranks(target: HPCTarget, folder: Path, profile: ExecutionProfile, variable: str) -> list[str]:
    """What each rank of the job has in this environment variable."""
    hpc = HPCJobRunner(target=target, work_root=str(folder / "work"))
    result = hpc.run(Command("/usr/bin/printenv", args=[variable]), profile=profile)
    return sorted(result.stdout_tail.split())


@pytest.mark.needs("mpi")
@pytest.mark.parametrize("launcher", ["mpirun", "mpiexec", "srun"])
def test_two_ranks_start_on_this_machine(tmp_path: Path, launcher: str) -> None:
    profile = ExecutionProfile(mpiprocs=2, launcher=launcher)

    assert run_ranks(LocalTarget(), tmp_path, profile, "OMPI_COMM_WORLD_RANK") == ["0", "1"]


@pytest.mark.needs("mpi")
def test_more_ranks_than_cores_start_on_this_machine(tmp_path: Path) -> None:
    ranks = (os.cpu_count() or 1) + 2
    profile = ExecutionProfile(num_nodes=ranks, launcher="mpirun")

    assert len(run_ranks(LocalTarget(), tmp_path, profile, "OMPI_COMM_WORLD_RANK")) == ranks


@pytest.mark.needs("slurm")
def test_srun_starts_the_ranks_on_both_nodes(
    tmp_path: Path, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    profile = ExecutionProfile(num_nodes=2, mpiprocs=2, launcher="srun", walltime="00:01:00")

    nodes = run_ranks(SlurmTarget(), tmp_path, profile, "SLURMD_NODENAME")

    assert len(nodes) == 4
    assert len(set(nodes)) == 2


@pytest.mark.needs("slurm")
def test_srun_gives_each_rank_its_threads(tmp_path: Path, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    profile = ExecutionProfile(mpiprocs=2, ompthreads=3, launcher="srun", walltime="00:01:00")

    assert run_ranks(SlurmTarget(), tmp_path, profile, "SLURM_CPUS_PER_TASK") == ["3", "3"]


@pytest.mark.needs("slurm", "mpi")
def test_mpirun_starts_the_ranks_inside_a_slurm_job(
    tmp_path: Path, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    profile = ExecutionProfile(mpiprocs=2, launcher="mpirun", environments=ROOT_MAY, walltime="00:01:00")

    assert run_ranks(SlurmTarget(), tmp_path, profile, "OMPI_COMM_WORLD_RANK") == ["0", "1"]


@pytest.mark.needs("sge", "mpi")
@pytest.mark.parametrize("launcher", ["mpirun", "mpiexec"])
def test_mpirun_starts_the_ranks_inside_a_grid_engine_job(
    tmp_path: Path, sge: GridEngine, monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    for name, value in sge.environment.items():
        monkeypatch.setenv(name, value)
    target = SGETarget(parallel_environment="smp", poll_interval=0.5)
    profile = ExecutionProfile(mpiprocs=2, launcher=launcher, environments=ROOT_MAY, walltime="00:01:00")

    assert run_ranks(target, tmp_path, profile, "OMPI_COMM_WORLD_RANK") == ["0", "1"]
