"""The schedule of a `defs.yaml` in a real daemon."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from dagster_hpc.engine.job import JobState
from tests.components.project import Project
from tests.components.test_partitions import STUDY
from tests.definitions.dagster_home import DagsterHome
from tests.systems.daemon import wait_until
from tests.systems.needs import REPOSITORY


def test_each_tick_of_the_schedule_is_one_array_and_what_gathers_it(project: Project, tmp_path: Path) -> None:
    project.write('schedule: {cron: "* * * * *", status: running}' + STUDY.replace("\n  ", "\n"))
    path = os.pathsep.join([str(project.root / "src"), str(REPOSITORY)])
    home = DagsterHome(tmp_path / "home", {"PYTHONPATH": path})
    daemon = ("dagster-daemon", "run", "-m", f"{project.name}.definitions")
    with home.instance() as instance, home.running(*daemon, ready=lambda: True):

        def reported() -> bool:
            return bool(instance.fetch_materializations(dg.AssetKey("report"), limit=1).records)

        wait_until(reported, 240, lambda: str(home.jobs()))
        (first, *_) = sorted(instance.get_run_records(), key=lambda record: record.create_timestamp)
    jobs = [job for job in home.jobs() if job.run_id == first.dagster_run.run_id]
    assert sorted(str(job.partition_key) for job in jobs) == ["", "h2", "li h", "n2"]
    assert {job.state for job in jobs} == {JobState.COMPLETED}
    assert len({job.batch for job in jobs if job.partition_key}) == 1
