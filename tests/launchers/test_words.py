"""What a launcher is told: each number once; and what an MPI is told of the job's nodes, as docs/profiles.md shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import Command, ConfigurationError, ExecutionProfile, HPCJobRunner, PBSTarget, SGETarget, SlurmTarget
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.launchers import BINDING, HOST_FILE, HOSTS, LAUNCHERS, MAPPING, launch_prefix, launcher_setup

DOCS = Path(__file__).parents[2] / "docs" / "profiles.md"
PROGRAM = Command("/apps/solve")


def words(launcher: Any, *options: str, **more: Any) -> str:
    """The words before the program for two nodes of eight ranks."""
    wanted = {"nodes": 2, "ranks_per_node": 8, **more}
    return " ".join(launch_prefix(JobSpec(name="x", launcher=launcher, launcher_options=options, **wanted)))


def render(**profile: Any) -> str:
    hpc = HPCJobRunner(target=PBSTarget(queue_cpu="q", project_cpu="p"), work_root="/scratch/me")
    return hpc.render(PROGRAM, profile=ExecutionProfile(num_nodes=2, mpiprocs=8, **profile))


@pytest.mark.parametrize(
    ("launcher", "said"),
    [
        ("single", ""),
        ("srun", "srun --ntasks=16 --ntasks-per-node=8"),
        ("mpirun", "mpirun -n 16"),
        ("mpiexec", "mpiexec -n 16"),
        ("mpiexec.hydra", "mpiexec.hydra -n 16 -ppn 8"),
        ("flux", "flux run --nodes=2 --ntasks=16"),
    ],
)
def test_a_launcher_is_told_how_many_ranks(launcher: str, said: str) -> None:
    assert words(launcher) == said


@pytest.mark.parametrize(
    ("launcher", "options", "said"),
    [
        ("mpiexec", ["-np", "16"], "mpiexec -np 16"),
        ("mpirun", ["--np", "16", "--report-bindings"], "mpirun --np 16 --report-bindings"),
        ("mpirun", ["-N", "8"], "mpirun -n 16 -N 8"),
        ("mpiexec.hydra", ["-ppn", "8"], "mpiexec.hydra -n 16 -ppn 8"),
        ("srun", ["-n16", "--mpi=pmix"], "srun --ntasks-per-node=8 -n16 --mpi=pmix"),
        ("srun", ["--ntasks=16", "--ntasks-per-node=8", "-N2"], "srun --ntasks=16 --ntasks-per-node=8 -N2"),
        ("flux", ["-N", "2"], "flux run --ntasks=16 -N 2"),
    ],
)
def test_a_number_that_the_user_says_is_not_said_again(launcher: str, options: list[str], said: str) -> None:
    assert words(launcher, *options) == said


@pytest.mark.parametrize(
    ("launcher", "options"),
    [
        ("mpiexec", ["-np", "8"]),
        ("mpirun", ["-n", "$NSLOTS"]),  # a word is no shell text
        ("mpirun", ["-n"]),
        ("mpirun", ["-npernode", "4"]),
        ("mpiexec.hydra", ["-ppn", "16"]),
        ("mpirun", ["--np=1"]),
        ("mpirun", ["-n1"]),
    ],
)
def test_a_number_that_contradicts_the_profile_is_an_error_before_submission(launcher: Any, options: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="the profile says"):
        render(launcher=launcher, mpi_options=options)


def test_options_that_say_no_number_are_passed_on() -> None:
    assert words("mpirun", "-x", "LD_LIBRARY_PATH", "--mca", "btl", "^openib") == (
        "mpirun -n 16 -x LD_LIBRARY_PATH --mca btl ^openib"
    )


# -- hosts, mapping, binding


def setup(system: str, *options: str, launcher: Any = "mpirun", **more: Any) -> str:
    wanted = {"nodes": 2, "ranks_per_node": 2, **more}
    return "\n".join(launcher_setup(JobSpec(name="x", launcher=launcher, launcher_options=options, **wanted), system))


@pytest.mark.parametrize("system", [name for name, hosts in HOSTS.items() if hosts.file])
def test_an_open_mpi_that_cannot_ask_the_system_is_told_the_nodes(system: str) -> None:
    for launcher in ("mpirun", "mpiexec"):
        assert all(name in setup(system, launcher=launcher) for name in (*HOST_FILE, HOSTS[system].file))
    assert not any(name in setup(system, nodes=1) for name in HOST_FILE)
    assert not setup(system, launcher="mpiexec.hydra")  # which reads the system's list by itself


@pytest.mark.parametrize("system", ["slurm", "pjm", "flux", "local"])
def test_systems_that_bring_their_own_way_need_no_host_file(system: str) -> None:
    assert not setup(system)


def test_where_slots_are_cores_the_ranks_are_counted_for_each_node() -> None:
    assert "ppr:2:node" in setup("sge", threads_per_rank=4)
    assert all(name in setup("torque", threads_per_rank=4) for name in MAPPING)
    for said in (setup("sge"), setup("pbs", threads_per_rank=4), setup("sge", "--map-by", "node", threads_per_rank=4)):
        assert "ppr:" not in said


def test_two_ranks_of_several_threads_are_not_tied_to_one_core_each() -> None:
    assert all(name in setup("local", nodes=1, threads_per_rank=2) for name in BINDING)
    for said in (
        setup("local", nodes=1),
        setup("local", nodes=2, threads_per_rank=2),
        setup("local", "--bind-to", "core", nodes=1, threads_per_rank=2),
    ):
        assert not any(name in said for name in BINDING)


def test_only_srun_itself_is_told_the_threads_of_a_rank() -> None:
    """An mpirun starts a daemon on each node by srun, and all ranks of the node live in what the daemon was given."""
    hpc = HPCJobRunner(target=SlurmTarget(), work_root="/scratch/me")
    scripts = {
        launcher: hpc.render(PROGRAM, profile=ExecutionProfile(num_nodes=2, ompthreads=3, launcher=launcher))
        for launcher in ("srun", "mpirun")
    }
    assert "SRUN_CPUS_PER_TASK=3" in scripts["srun"]
    assert "SRUN_CPUS_PER_TASK" not in scripts["mpirun"]


def test_the_settings_stand_before_what_the_user_sets() -> None:
    target = SGETarget(parallel_environment="smp", multi_node_environment="mpi")
    profile = ExecutionProfile(
        num_nodes=2, mpiprocs=2, ompthreads=4, launcher="mpirun", environments={MAPPING[0]: "node"}
    )
    lines = HPCJobRunner(target=target, work_root="/scratch/me").render(PROGRAM, profile=profile).splitlines()
    ours, users = (next(n for n, line in enumerate(lines) if word in line) for word in ("ppr:2:node", "=node"))
    assert ours < users


# -- the documentation


def table(heading: str) -> list[list[str]]:
    """The rows of the table under this heading of docs/profiles.md, without its head."""
    text = DOCS.read_text().partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_documentation_shows_what_each_launcher_is_told() -> None:
    assert [row[0] for row in table("Launchers")] == [f"`{name}`" for name in ("single", *LAUNCHERS)]
    for name, said, *_ in table("Launchers"):
        told = words(name.strip("`"), threads_per_rank=4)
        assert said == (f"`{told}`" if told else "nothing"), name


def test_the_documentation_shows_what_each_system_tells_an_mpi() -> None:
    names = {"slurm": "Slurm", "pbs": "PBS", "torque": "Torque", "sge": "Grid Engine", "lsf": "LSF"}
    rows = {row[0]: row[1:] for row in table("Hosts")}
    for system, hosts in HOSTS.items():
        component, file, slots = rows[names[system]]
        assert component == f"`{hosts.component}`"
        assert (f"`{hosts.file}`" in file) is bool(hosts.file)
        assert ("cores" in slots) is hosts.slots_are_cores
    text = DOCS.read_text()
    assert all(f"`{name}`" in text for name in (*HOST_FILE, *MAPPING, *BINDING))
