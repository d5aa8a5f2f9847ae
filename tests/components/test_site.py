"""A target and a profile by their names in the site's file."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from tests.components.project import Project, run
from tests.components.test_faults import complaint

pytest.importorskip("dagster_hpc.site.catalogue")

SITE = """
work_root = "$WORK"

[targets.laptop]
kind = "local"
spool = "$SPOOL"
poll_interval = 0.2

[profiles.small]
walltime = "00:05:00"
environments = {WHO = "the site"}
"""
HEAD = "type: dagster_hpc.HPCJobComponent\nattributes:\n  target: "


@pytest.fixture(autouse=True)
def site(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    file = project.root.parent / "site.toml"
    file.write_text(project.filled(SITE))
    monkeypatch.setenv("DAGSTER_HPC_SITE", str(file))


def test_a_job_runs_on_a_target_of_the_site_with_a_profile_of_the_site(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.write(
        """
      jobs:
        - {asset: who, profile: small, script: 'echo "$WHO" >who.txt', outputs: {who: who.txt}}
    """,
        head=HEAD + "laptop",
    )
    result = run(project.load(), instance)
    assert Path(result.output_for_node("who")["who"]).read_text() == "the site\n"


def test_a_target_that_the_site_does_not_have_names_the_nearest(project: Project) -> None:
    path = project.write("jobs: [{asset: who, script: echo}]", head=HEAD + "labtop")
    assert f"{path}:3: the site has no target 'labtop': did you mean 'laptop'?" in complaint(project)


def test_a_profile_that_the_site_does_not_have_names_the_nearest(project: Project) -> None:
    path = project.write("jobs: [{asset: who, script: echo, profile: smal}]", head=HEAD + "laptop")
    assert f"{path}:4: there is no execution profile 'smal': did you mean 'small'?" in complaint(project)
