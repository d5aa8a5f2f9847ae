"""The first file of a machine: what it tells, in the words of the site's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_hpc import Site
from dagster_hpc.checks.base import Queue, Survey
from dagster_hpc.site.first_file import first_file
from dagster_hpc.site.machine import Machine

QUEUES = [
    Queue("old", closed="it is down"),
    Queue("regular", is_default=True, nodes=16, cores_per_node=48, memory_per_node_mib=180_000, walltime_s=86400),
    Queue("accel", gpus_per_node=4, walltime_s=1800),
]


def site_of(machine: Machine, folder: Path) -> Site:
    """The site, with whatever is only hinted at left as it is."""
    (folder / "site.toml").write_text(first_file(machine, str(folder)))
    return Site.load(folder / "site.toml", environ={})


def test_queues_accounts_and_limits_are_what_the_machine_told(tmp_path: Path) -> None:
    site = site_of(Machine("login1", "slurm", Survey(QUEUES, ["ab12", "cd34"]), "srun"), tmp_path)

    target = site.targets["cluster"]
    assert (target.queue_cpu, target.queue_gpu, target.project_cpu) == ("regular", "accel", "ab12")
    assert (target.limits["regular"].max_nodes, target.limits["regular"].max_memory_per_node) == (16, "180000M")
    assert set(target.limits) == {"regular", "accel"}
    assert site.runner().profile("").walltime == "00:05:00"
    assert "old (it is down)" in (tmp_path / "site.toml").read_text()


def test_profiles_fit_into_a_small_queue(tmp_path: Path) -> None:
    queue = Queue("short", cores_per_node=1, walltime_s=60)
    hpc = site_of(Machine("login1", "slurm", Survey([queue]), "srun"), tmp_path).runner()

    assert {name: (each.walltime, each.ompthreads) for name, each in hpc.profiles.items()} == {
        "small": ("00:01:00", None),
        "threads": ("00:01:00", 1),
    }


def test_grid_engine_without_an_environment_for_cores_has_profiles_of_one_core(tmp_path: Path) -> None:
    bare = site_of(Machine("login1", "sge", Survey([Queue("all.q")]), "mpirun"), tmp_path)
    assert list(bare.profiles) == ["small"]


@pytest.mark.parametrize(
    ("kind", "hint"), [("pjm", '# kind = "fugaku"  # on Fugaku'), ("pjm", '# queue_cpu = ""'), ("pbs", '# project_cpu = ""')]
)
def test_what_only_a_person_knows_is_hinted_at(tmp_path: Path, kind: str, hint: str) -> None:
    site_of(Machine("login1", kind, Survey([]), "mpiexec"), tmp_path)
    assert hint in (tmp_path / "site.toml").read_text().splitlines()
