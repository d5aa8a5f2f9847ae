"""What the doctor reads from Open MPI's list of its components."""

from __future__ import annotations

import pytest

from dagster_hpc.checks.base import Demand, Finding
from dagster_hpc.checks.mpi import mpi_probes
from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.job import JobSpec

DEBIAN = (
    "ompi:version:full:4.1.4\nmca:plm:slurm:version:\"mca:2.1.0\"\nmca:plm:rsh:version:\"mca:2.1.0\"\n"
    "mca:ras:gridengine:version:\"mca:2.1.0\"\n"
)  # fmt: skip
MANY = [Demand(specs={"wide": JobSpec(name="x", nodes=2, launcher="mpirun")})]


def finding(system: str, stdout: str, code: int = 0, stderr: str = "") -> Finding:
    (probe,) = mpi_probes(system, MANY)
    return probe.read(Answer(probe.call.argv, code, stdout, stderr))


@pytest.mark.parametrize(
    ("system", "level", "words"),
    [
        ("slurm", "ok", "finds the nodes of a job by itself (component slurm)"),
        ("sge", "ok", "component gridengine"),
        ("pbs", "warn", "lacks the component tm: in the profiles 'wide' it is told the nodes, and reaches them by ssh"),
        ("lsf", "warn", "lacks the component lsf"),
    ],
)
def test_an_open_mpi_says_which_systems_it_can_ask(system: str, level: str, words: str) -> None:
    said = finding(system, DEBIAN)
    assert said.level == level
    assert words in said.sentence
    assert level == "ok" or said.advice


def test_on_slurm_one_that_lacks_it_would_use_one_node() -> None:
    said = finding("slurm", DEBIAN.replace("slurm", "isolated"))
    assert "all ranks of the profiles 'wide' on one node" in said.sentence
    assert "srun" in said.advice


def test_one_that_lists_no_components_proves_nothing() -> None:
    assert finding("slurm", "ompi:version:full:5.0.6\n").level == "warn"  # without prte_info
    assert finding("slurm", "", 1, "ompi_info: error").level == "warn"
    assert "modules may bring one" in finding("slurm", "", 127, "sh: 1: ompi_info: not found").sentence


@pytest.mark.parametrize(("nodes", "launcher"), [(1, "mpirun"), (2, "srun"), (2, "mpiexec.hydra"), (2, "single")])
def test_nothing_is_asked_where_no_profile_needs_it(nodes: int, launcher: str) -> None:
    spec = JobSpec(name="x", nodes=nodes, launcher=launcher)  # type: ignore[arg-type]
    assert mpi_probes("slurm", [Demand(specs={"x": spec}), Demand()]) == []


@pytest.mark.needs("mpi")
def test_a_real_open_mpi_is_read() -> None:
    (probe,) = mpi_probes("slurm", MANY)
    said = probe.read(LocalHost().run(probe.call))
    assert "the Open MPI " in said.sentence
