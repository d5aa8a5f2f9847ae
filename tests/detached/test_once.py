"""Each report comes exactly once: whatever dies, whoever else looks, whoever else waits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import Command, HPCJobRunner, JobState, hpc_asset
from dagster_hpc.engine.clock import Clock
from dagster_hpc.engine.errors import LedgerUnavailable
from dagster_hpc.engine.ledger import Ledger
from dagster_hpc.engine.ledger.reports import Reports
from dagster_hpc.engine.ledger.schema import REPORTS
from tests.detached.conftest import Lab


class Killed(BaseException):
    """The end of the process that evaluates the sensor."""


def checked(result: Any) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(value=1, check_results=[dg.AssetCheckResult(passed=True)])


def one(tmp_path: Path) -> Any:
    @hpc_asset(
        profile="small", detached=True, collect=checked, check_specs=[dg.AssetCheckSpec("ok", asset="number")]
    )
    def number() -> Command:
        return Command.shell('echo ran >>"$1"', args=[str(tmp_path / "traces")])

    return number


def wait_for_the_job(hpc: HPCJobRunner, state: JobState = JobState.COMPLETED) -> None:
    """Somebody else polls, and does not report."""
    (job,) = hpc.jobs()
    while hpc.jobs()[0].state is not state:
        hpc._engine().ledger.leases.hurry(job.target, 0.0)
        hpc._engine().tick()


@pytest.mark.parametrize("point", ["report: after the claim", "report: before an event", "report: after an event"])
@pytest.mark.parametrize("passage", [1, 2, 3])
def test_a_sensor_may_die_at_any_point(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, passage: int
) -> None:
    lab.assets = [one(tmp_path)]
    lab.launch()
    wait_for_the_job(lab.hpc)
    passed = []

    def die(_: Clock, name: str) -> None:
        passed.append(name)
        if passed.count(point) == passage:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Clock, "point", die)
        if point.endswith("claim") and passage > 1:
            lab.look()
        else:
            with pytest.raises(Killed):
                lab.look()
    monkeypatch.setattr("dagster_hpc.engine.report.process_lives", lambda owner: False)  # it is dead
    lab.settle()
    lab.look()
    assert (len(lab.materializations("number")), len(lab.evaluations("number", "ok"))) == (1, 1)
    assert lab.hpc.jobs()[0].held_identity is None


@pytest.mark.parametrize("verb", ["begin", "beat", "done"])
@pytest.mark.parametrize("done", [False, True], ids=["not done", "answer lost"])
def test_a_ledger_that_is_silent_during_a_report_leaves_it_to_the_next_look(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, done: bool
) -> None:
    """The daemon lives on, and nobody else would report for five minutes what it has begun."""
    lab.assets = [one(tmp_path)]
    lab.launch()
    wait_for_the_job(lab.hpc)
    really = getattr(Reports, verb)

    def silent(*args: Any, **more: Any) -> bool:
        if done:
            really(*args, **more)
        raise LedgerUnavailable("the ledger does not answer: database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(Reports, verb, silent)
        with pytest.raises(LedgerUnavailable):
            lab.look()
    lab.look()
    assert (len(lab.materializations("number")), len(lab.evaluations("number", "ok"))) == (1, 1)
    assert lab.hpc.jobs()[0].held_identity is None


def test_a_sensor_that_lives_is_not_overtaken(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.assets = [one(tmp_path)]
    lab.launch()
    wait_for_the_job(lab.hpc)
    said: list[str] = []

    def look_twice(_: Clock, name: str) -> None:
        if name == "report: after the claim":
            said.append(lab.look())

    with monkeypatch.context() as patch:
        patch.setattr(Clock, "point", look_twice)
        lab.look()
    assert "1 left: somebody else reports it" in said[0]
    assert len(lab.materializations("number")) == 1


def test_two_evaluations_at_once_report_each_job_once(lab: Lab, tmp_path: Path) -> None:
    @hpc_asset(profile="small", detached=True, partitions_def=dg.StaticPartitionsDefinition(["a", "b", "c", "d"]))
    def part() -> Command:
        return Command("/bin/true")

    lab.assets = [part]
    for key in "abcd":
        lab.launch(partition=key)
    while lab.hpc.jobs(live=True):
        lab.hpc._engine().tick()
    threads = [Thread(target=lab.look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lab.settle()
    assert sorted(str(made.partition) for made in lab.materializations("part")) == ["a", "b", "c", "d"]


def test_a_second_launch_joins_the_job_and_adds_no_report(lab: Lab, tmp_path: Path) -> None:
    go = tmp_path / "go"

    @hpc_asset(profile="small", detached=True)
    def number() -> Command:
        return Command.shell(f"while [ ! -e {go} ]; do sleep 0.1; done")

    lab.assets = [number]
    lab.launch()
    lab.launch()
    assert len(lab.owed()) == 1
    go.touch()
    lab.settle()
    assert (len(lab.materializations("number")), len(lab.hpc.jobs())) == (1, 1)


def test_a_job_that_a_run_waits_for_is_left_to_that_run(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.assets = [one(tmp_path)]
    lab.launch()
    wait_for_the_job(lab.hpc)
    said: list[str] = []
    real = HPCJobRunner._wait

    def while_it_waits(*given: Any, **named: Any) -> Sequence[Any]:
        results = real(*given, **named)
        said.append(lab.look())  # the step has the result, and has not succeeded yet
        return results

    monkeypatch.setattr(HPCJobRunner, "_wait", while_it_waits)
    lab.launch(config={"ops": {"number": {"config": {"detached": False}}}})
    assert "waits for its job" in said[0]
    assert "reported as received by run" in lab.look()
    assert len(lab.materializations("number")) == 1
    assert (tmp_path / "traces").read_text().split() == ["ran"]


def test_a_report_of_an_asset_that_is_gone_stays_open_and_is_told(lab: Lab, tmp_path: Path) -> None:
    number = one(tmp_path)
    lab.assets = [number]
    lab.launch()
    wait_for_the_job(lab.hpc)
    lab.assets = []
    assert "1 left: this code location defines no hpc_asset 'number'" in lab.look()
    lab.assets = [number]
    lab.settle()
    assert len(lab.materializations("number")) == 1


def test_another_dagster_on_the_same_ledger_does_not_report_it(lab: Lab, tmp_path: Path) -> None:
    lab.assets = [one(tmp_path)]
    lab.launch()
    wait_for_the_job(lab.hpc)
    (tmp_path / "other").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "other")) as other:
        Lab(other, lab.hpc, lab.assets).look()
        assert not other.fetch_materializations(dg.AssetKey("number"), limit=1).records
    lab.settle()
    assert len(lab.materializations("number")) == 1


def test_downstream_conditions_fire_on_a_report(lab: Lab, tmp_path: Path) -> None:
    @dg.asset(deps=["number"], automation_condition=dg.AutomationCondition.eager())
    def after() -> None: ...

    lab.assets = [one(tmp_path), after]
    lab.launch("number")
    before = dg.evaluate_automation_conditions(lab.definitions, lab.instance)
    assert before.total_requested == 0
    wait_for_the_job(lab.hpc)
    lab.settle()
    then = dg.evaluate_automation_conditions(lab.definitions, lab.instance, cursor=before.cursor)
    assert then.get_num_requested(dg.AssetKey("after")) == 1


def test_the_cursor_stays_empty(lab: Lab, tmp_path: Path) -> None:
    lab.assets = [one(tmp_path)]
    lab.launch()
    sensor = lab.definitions.resolve_sensor_def("hpc_jobs")
    with dg.build_sensor_context(
        instance=lab.instance, definitions=lab.definitions, resources={"hpc": lab.hpc}
    ) as context:
        assert sensor.evaluate_tick(context).cursor is None


def test_reports_outlive_the_run_that_asked(lab: Lab, tmp_path: Path) -> None:
    lab.assets = [one(tmp_path)]
    run = lab.launch()
    lab.instance.delete_run(run.run_id)
    lab.settle()
    assert len(lab.materializations("number")) == 1
    query = REPORTS.select()
    (report,) = Ledger(lab.hpc.ledger_url)._database.read(lambda connection: list(connection.execute(query)))
    assert report.outcome == "COMPLETED"


def test_a_job_that_was_pruned_before_it_was_reported_stops_nobody(lab: Lab, tmp_path: Path) -> None:
    lab.assets = [one(tmp_path)]
    lab.launch()
    wait_for_the_job(lab.hpc)
    Ledger(lab.hpc.ledger_url).delete([lab.hpc.jobs()[0].token])
    assert "1 reported as forgotten" in lab.look()
    assert lab.owed() == []


def test_a_result_that_was_reported_may_be_taken_and_reported_again(lab: Lab, tmp_path: Path) -> None:
    lab.assets = [one(tmp_path)]
    for count in (1, 2):
        lab.launch(config={"ops": {"number": {"config": {"reuse": "succeeded"}}}})
        lab.settle()
        assert len(lab.materializations("number")) == count
    assert (tmp_path / "traces").read_text().split() == ["ran"]
