"""A fresh project, from `dg scaffold` to a materialized asset, as its user types it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, Ledger
from tests.components.environment import environment
from tests.components.project import Project
from tests.systems.slurm import SlurmCluster

PIPELINE = """
  profile: {walltime: "00:02:00"}
  jobs:
    - asset: numbers
      partitions_def: {type: static, partition_keys: [a, b, c]}
      script: echo "$1" >number.txt
      args: ["{{ partition_key }}"]
      outputs: {number: number.txt}
    - asset: report
      script: cat "$@" >report.txt; echo "$# files"
      args: ["{{ deps.numbers.number }}"]
      outputs: {report: report.txt}
      values: {files: {pattern: '(\\d+) files'}}
      checks: {files: {equals: 3}}
"""


class Terminal:
    """Commands typed in the folder of a project that `create-dagster` made, and `pip` installed."""

    def __init__(self, folder: Path) -> None:
        self.project = Project(folder / "climate", "climate")
        self._home = folder / "home"
        self._home.mkdir()
        (self._home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        self._environment = {**environment(folder / "env"), "DAGSTER_HOME": str(self._home), "COLUMNS": "200"}
        self._run(folder, "create-dagster", "project", "climate", "--no-uv-sync")
        self._run(folder, "pip", "install", "-e", "climate")

    def dg(self, *words: str) -> str:
        return self._run(self.project.root, "dg", *words)

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self._home))

    def jobs(self) -> list[JobRow]:
        """Of the ledger, the oldest first."""
        return sorted(Ledger().jobs(limit=None), key=lambda row: row.created_at)

    def _run(self, folder: Path, program: str, *words: str) -> str:
        """What the command printed. One that fails is quoted."""
        done = subprocess.run(
            [Path(self._environment["VIRTUAL_ENV"], "bin", program), *words],
            cwd=folder, env={**os.environ, **self._environment}, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} {' '.join(words)}:\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("DAGSTER_HPC_LEDGER", f"sqlite:///{tmp_path}/ledger.db")
    return Terminal(tmp_path)


def test_dg_finds_scaffolds_checks_and_runs_the_component(terminal: Terminal) -> None:
    project = terminal.project
    assert "dagster_hpc.HPCJobComponent" in terminal.dg("list", "components")
    terminal.dg("scaffold", "defs", "dagster_hpc.HPCJobComponent", "first")
    file = project.defs / "first" / "defs.yaml"
    target = project.filled("work_root: $WORK")
    file.write_text(file.read_text().replace("work_root: ~/dagster-hpc-jobs", target))
    terminal.dg("check", "yaml")
    terminal.dg("check", "defs")
    listed = json.loads(terminal.dg("list", "defs", "--json"))
    assert {each["asset_key"]: each["dependency_keys"] for each in listed["assets"]} == {
        "first_numbers": [],
        "first_total": ["first_numbers"],
    }
    terminal.dg("launch", "--assets", "*")
    (total,) = Path(project.filled("$WORK")).rglob("total.txt")
    assert total.read_text() == "5050\n"


def test_dg_shows_the_fields_with_their_descriptions(terminal: Terminal) -> None:
    shown = terminal.dg("utils", "inspect-component", "dagster_hpc.HPCJobComponent")
    schema = json.loads(shown.partition("Component schema:")[2])
    job = schema["$defs"]["JobModel"]["properties"]
    undescribed = [name for name, each in {**schema["properties"], **job}.items() if not each.get("description")]
    assert not undescribed
    slurm = schema["$defs"]["SlurmTarget"]["properties"]
    assert slurm["queue_cpu"]["description"].startswith("Queue or partition")


@pytest.mark.needs("slurm")
def test_dg_launches_the_same_file_on_a_real_slurm(
    terminal: Terminal, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = terminal.project
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    head = "type: dagster_hpc.HPCJobComponent\nattributes:\n  target: {kind: slurm, poll_interval: 0.5}\n  work_root: $WORK"
    project.write(PIPELINE, head=head)
    terminal.dg("launch", "--assets", "numbers,report", "--partition-range", "a...c")
    *elements, report = terminal.jobs()
    assert [each.state for each in (*elements, report)] == [JobState.COMPLETED] * 4
    assert [each.partition_key for each in elements] == ["a", "b", "c"]
    assert len({str(each.job_id).partition("_")[0] for each in elements}) == 1  # one array
    with terminal.instance() as instance:
        (found,) = instance.fetch_materializations(dg.AssetKey("report"), limit=10).records
        assert found.asset_materialization is not None
        said = {name: value.value for name, value in found.asset_materialization.metadata.items()}
    assert (said["files"], said["target"]) == (3, report.target)
    assert Path(report.work_dir, "report.txt").read_text() == "a\nb\nc\n"
