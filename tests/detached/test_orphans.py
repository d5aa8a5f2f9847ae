"""Jobs whose run died: they are reported, cancelled or left, as the sensor was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import Command, JobState, hpc_asset
from tests.detached.conftest import Lab


@pytest.fixture
def die(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let every step that waits for a job die over it, as of a process that was killed; call it to let them live."""

    def died(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("dagster_hpc.resources.job_runner.HPCJobRunner._wait", died)
    return monkeypatch.undo


def make(lab: Lab, tmp_path: Path) -> Path:
    """An asset whose job counts its runs and goes on until the file is there."""
    go = tmp_path / "go"

    @hpc_asset(profile="small", outputs={"answer": "answer.txt"})
    def number() -> Command:
        text = f'echo ran >>{tmp_path}/traces; while [ ! -e {go} ]; do sleep 0.1; done; echo 42 >answer.txt'
        return Command.shell(text)

    lab.assets = [number]
    return go


def test_a_job_whose_run_died_is_materialized(lab: Lab, tmp_path: Path, die: Callable[[], None]) -> None:
    go = make(lab, tmp_path)
    lab.options = {"orphan_after_s": 0.0}
    run = lab.launch(ok=False)
    assert "1 of runs that died are taken up" in lab.look()
    assert "taken up" not in lab.look()
    go.touch()
    lab.settle()
    (made,) = lab.materializations("number")
    assert made.metadata["run"].value == run.run_id


def test_or_cancelled_and_told_as_that(lab: Lab, tmp_path: Path, die: Callable[[], None]) -> None:
    make(lab, tmp_path)
    lab.options = {"orphan_after_s": 0.0, "orphans": "cancel"}
    lab.launch(ok=False)
    lab.look()
    lab.settle()
    (failed,) = lab.failures("number")
    assert failed.metadata["state"].value == "CANCELLED"
    assert lab.hpc.jobs()[0].state is JobState.CANCELLED


def test_or_left_to_the_next_run(lab: Lab, tmp_path: Path, die: Callable[[], None]) -> None:
    go = make(lab, tmp_path)
    lab.options = {"orphan_after_s": 0.0, "orphans": "leave"}
    lab.launch(ok=False)
    go.touch()
    lab.look_until(lambda: lab.hpc.jobs()[0].state.is_final)
    lab.look()
    assert (lab.materializations("number"), lab.failures("number")) == ([], [])
    die()  # no more
    lab.launch()
    assert (tmp_path / "traces").read_text().split() == ["ran"]


def test_a_run_that_died_just_now_may_still_be_retried(lab: Lab, tmp_path: Path, die: Callable[[], None]) -> None:
    make(lab, tmp_path)
    lab.launch(ok=False)
    assert "taken up" not in lab.look()


def test_a_job_that_a_retry_waits_for_is_no_orphan(lab: Lab, tmp_path: Path, die: Callable[[], None]) -> None:
    make(lab, tmp_path)
    lab.options = {"orphan_after_s": 0.0}
    run = lab.launch(ok=False)
    lab.instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    assert "taken up" not in lab.look()
    job = lab.definitions.resolve_implicit_global_asset_job_def()
    tags = {"dagster/root_run_id": run.run_id, "dagster/parent_run_id": run.run_id}
    retry = lab.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    assert "taken up" not in lab.look()
    lab.instance.report_run_failed(retry)
    assert "taken up" in lab.look()


def test_a_crash_between_the_submission_and_the_record_loses_no_job(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @hpc_asset(profile="small", detached=True, outputs={"answer": "answer.txt"})
    def sweep() -> list[Command]:
        return [Command.shell(f"echo {number} >answer.txt") for number in (1, 2)]

    lab.assets, lab.options = [sweep], {"orphan_after_s": 0.0}
    with monkeypatch.context() as patch:
        patch.setattr("dagster_hpc.engine.ledger.reports.Reports.add", lambda *_: 1 / 0)
        lab.launch(ok=False)
    assert "taken up" in lab.look()
    lab.settle()
    (made,) = lab.materializations("sweep")
    assert made.metadata["jobs"].value == 2


def test_assets_of_another_code_location_are_left_alone(lab: Lab, tmp_path: Path, die: Callable[[], None]) -> None:
    make(lab, tmp_path)
    lab.options = {"orphan_after_s": 0.0, "orphans": "cancel"}
    lab.launch(ok=False)
    lab.assets = []
    lab.look()
    assert not lab.hpc.jobs()[0].cancel_requested
