"""The examples that are written as YAML: short, and run on this machine and on a real Slurm."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import yaml

from tests.components.project import Project, run
from tests.docs.pages import page
from tests.systems.needs import REPOSITORY
from tests.systems.slurm import SlurmCluster

KESTRA = REPOSITORY / "examples" / "kestra"
KESTRAS_OWN_LINES = 30  # of the flow on Kestra's page about HPC, without blank lines and comments


def copied(project: Project, target: str) -> dg.Definitions:
    """The example in a project, with another target and folder."""
    place = project.defs / "simulation"
    place.mkdir()
    for file in KESTRA.iterdir():
        content = file.read_text().replace("{kind: slurm}", target).replace("/scratch/me/dagster", "$WORK")
        (place / file.name).write_text(project.filled(content))
    return project.load()


def test_kestras_flow_is_no_longer_here_than_there() -> None:
    lines = [line for line in (KESTRA / "defs.yaml").read_text().splitlines() if line.split("#")[0].strip()]
    assert len(lines) <= KESTRAS_OWN_LINES / 2


def test_kestras_flow_runs_here(project: Project, instance: dg.DagsterInstance) -> None:
    result = run(copied(project, "{kind: local, spool: $SPOOL, poll_interval: 0.2}"), instance)
    assert Path(result.output_for_node("simulation")["result"]).read_text().startswith("the walk ends at ")


@pytest.mark.needs("slurm")
def test_kestras_flow_runs_on_slurm_and_tells_its_final_state(
    project: Project, instance: dg.DagsterInstance, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    result = run(copied(project, "{kind: slurm, poll_interval: 0.5}"), instance)
    (made,) = result.asset_materializations_for_node("simulation")
    said = {name: value.value for name, value in made.metadata.items()}
    assert (said["state"], said["exit_code"]) == ("COMPLETED", 0)
    assert said["job_id"]


def test_the_pipeline_of_the_readme_is_copied_in_thirty_lines() -> None:
    (pipeline,) = (block for block in page("README.md").blocks if "HPCJobComponent" in block.text)
    assert len(pipeline.text.splitlines()) <= 30
    for word in ("schedule:", "plot:", "retry:", "checks:", "partitions_def:"):
        assert word in pipeline.text


def test_an_example_is_yaml_that_dagster_takes() -> None:
    from dagster_hpc import HPCJobComponent

    model = HPCJobComponent.get_model_cls()
    assert model is not None
    model.model_validate(yaml.safe_load((KESTRA / "defs.yaml").read_text())["attributes"])
