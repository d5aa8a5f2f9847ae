"""Functions of which every rank runs one: real Open MPI here, srun on the real Slurm."""

from __future__ import annotations

import sys

import pytest

from dagster_hpc import ExecutionProfile, HPCJobRunner
from tests.python_calls import functions
from tests.python_calls.conftest import ROOT_MAY

pytest.importorskip("mpi4py")
PAIR = {"mpiprocs": 2, "walltime": "00:02:00", "environments": ROOT_MAY}


@pytest.mark.needs("mpi")
def test_every_rank_runs_the_function_and_rank_0_returns(hpc: HPCJobRunner) -> None:
    profile = ExecutionProfile(launcher="mpirun", **PAIR)
    assert hpc.call(functions.rank_and_size, 3, profile=profile) == (3, 2, 0, 3)


@pytest.mark.needs("mpi")
def test_what_one_rank_raises_ends_the_others_and_is_told(hpc: HPCJobRunner) -> None:
    profile = ExecutionProfile(launcher="mpirun", **PAIR)
    with pytest.raises(functions.NoSuchCrystal) as told:
        hpc.call(functions.fails_on_rank_1, profile=profile)
    assert "on rank 1" in str(told.value.__cause__)


@pytest.mark.needs("slurm", "mpi")
@pytest.mark.parametrize("place", ["slurm"], indirect=True)
def test_ranks_of_mpirun_in_a_job_of_slurm_speak_with_each_other(anywhere: HPCJobRunner) -> None:
    profile = ExecutionProfile(launcher="mpirun", python=sys.executable, **PAIR)
    assert anywhere.call(functions.rank_and_size, 3, profile=profile) == (3, 2, 0, 3)


@pytest.mark.needs("slurm")
@pytest.mark.parametrize("place", ["slurm"], indirect=True)
def test_ranks_of_srun_are_told_apart_without_mpi(anywhere: HPCJobRunner) -> None:
    def rank() -> str:
        import os

        return os.environ["SLURM_PROCID"] + " of " + os.environ["SLURM_NTASKS"]

    profile = ExecutionProfile(num_nodes=2, launcher="srun", walltime="00:02:00")
    assert anywhere.call(rank, profile=profile) == "0 of 2"
