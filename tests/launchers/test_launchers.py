"""Ranks are really started: by Open MPI and by srun, as many as the profile says, where it says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, HPCTarget, LocalTarget, SGETarget, SlurmTarget
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.launchers import launch_prefix, launcher_setup
from tests.engine.pretend import eventually
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


@pytest.mark.needs("slurm", "mpi")
def test_mpirun_uses_all_cores_of_both_nodes_of_a_slurm_job(
    tmp_path: Path, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    profile = ExecutionProfile(
        num_nodes=2, mpiprocs=2, ompthreads=3, launcher="mpirun", environments=ROOT_MAY, walltime="00:01:00"
    )
    hpc = HPCJobRunner(target=SlurmTarget(), work_root=str(tmp_path / "work"))

    result = hpc.run(Command("/usr/bin/printenv", args=["SLURMD_NODENAME"]), profile=profile)

    nodes = result.stdout_tail.split()
    assert {node: nodes.count(node) for node in nodes} == dict.fromkeys(set(nodes), 2)
    assert len(set(nodes)) == 2
    # all ranks of a node live in the step of mpirun's daemon: with SRUN_CPUS_PER_TASK it has three cores of six
    asked = ["sacct", "-n", "-P", "-j", str(result.handle.job_id), "--format=JobName,NCPUS"]
    eventually(lambda: "orted|12" in slurm.run(asked).stdout.split(), 20)


# -- an Open MPI that knows nothing of the system, on two nodes that are this machine

LISTS = {
    "pbs": ("PBS_NODEFILE", "n1\nn1\nn2\nn2\n"),
    "lsf": ("LSB_DJOB_HOSTFILE", "n1\nn1\nn2\nn2\n"),
    "torque": ("PBS_NODEFILE", 4 * "n1\n" + 4 * "n2\n"),  # slots are cores
    "sge": ("PE_HOSTFILE", "n1 4 all.q@n1 UNDEFINED\nn2 4 all.q@n2 UNDEFINED\n"),
}


def places(folder: Path, system: str, *options: str, **more: Any) -> list[str]:
    """The local rank of each of four ranks: 0 0 1 1 where two nodes have two each. ssh to a node stays here."""
    variable, text = LISTS[system]
    spec = JobSpec(name="x", nodes=2, ranks_per_node=2, launcher="mpirun", launcher_options=options, **more)
    (folder / ".job").mkdir(exist_ok=True)
    (folder / "hosts").write_text(text)
    # Each node has files of its own: two daemons would make one folder of a session at the same time.
    (folder / "there").write_text('#!/bin/sh\nshift\nTMPDIR=$(mktemp -d) exec sh -c "$*"\n')
    (folder / "there").chmod(0o755)
    script = "\n".join(
        [
            f"hpc_here={folder}",
            *launcher_setup(spec, system),
            " ".join([*launch_prefix(spec), "printenv", "OMPI_COMM_WORLD_LOCAL_RANK"]),
        ]
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SGE_"))}
    here = {variable: str(folder / "hosts"), "OMPI_MCA_plm_rsh_agent": str(folder / "there"), **ROOT_MAY}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**clean, **here}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.split())


@pytest.mark.needs("mpi")
@pytest.mark.parametrize(("system", "threads"), [("pbs", None), ("pbs", 2), ("lsf", None), ("torque", 2), ("sge", 2)])
def test_ranks_are_on_both_nodes_where_mpi_lacks_the_systems_interface(
    tmp_path: Path, system: str, threads: int | None
) -> None:
    assert places(tmp_path, system, threads_per_rank=threads) == ["0", "0", "1", "1"]


@pytest.mark.needs("mpi")
def test_a_place_that_the_user_names_goes_first(tmp_path: Path) -> None:
    assert places(tmp_path, "sge", "--map-by", "slot", threads_per_rank=2) == ["0", "1", "2", "3"]


@pytest.mark.needs("mpi")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core is all that there is")
def test_two_ranks_with_threads_have_more_than_a_core_each(tmp_path: Path) -> None:
    def cores(**profile: Any) -> set[str]:
        hpc = HPCJobRunner(target=LocalTarget(), work_root=str(tmp_path / "work"))
        wanted = ExecutionProfile(mpiprocs=2, launcher="mpirun", **profile)
        # nproc itself would tell the OMP_NUM_THREADS of the job
        return set(hpc.run(Command.shell("env -u OMP_NUM_THREADS nproc"), profile=wanted).stdout_tail.split())

    assert cores() == {"1"}
    assert cores(ompthreads=2) != {"1"}
