"""On a real Slurm, as a user of Dagster's UI sees it: a sweep of partitions, and a job that nobody waits for."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow
from tests.browser.cluster_assets import TEMPERATURES
from tests.browser.conftest import LOCATION
from tests.browser.ui import RUN_MS, SLOW_MS, UI
from tests.definitions.dagster_home import RUN_S
from tests.systems.daemon import wait_until

pytestmark = [pytest.mark.needs("browser"), pytest.mark.needs("slurm")]

SIMULATION = dg.AssetKey("simulation")
DIVERGING = ["120K", "200K", "280K"]


def test_a_backfill_is_one_array_job_and_what_failed_runs_again_alone(cluster_ui: UI) -> None:
    from playwright.sync_api import expect  # here, so that a machine without it can say so

    ui = cluster_ui
    broken = Path(ui.home.variables["BROWSER_FILES"])
    for key in DIVERGING:
        (broken / key).touch()

    ui.open_partitioned("simulation")
    ui.launch_backfill("backfill-launch")
    ui.page.goto(f"/runs/{run_with(ui, count=1)}")
    ui.wait_for_status("Failure")
    expect(ui.page.get_by_text("3 of 20 partitions failed").first).to_be_visible()
    ui.picture("backfill-run", height=670)

    rows = ui.home.jobs()
    assert partitions(rows) == sorted(TEMPERATURES)
    assert partitions(row for row in rows if row.state is JobState.FAILED) == DIVERGING
    (array,) = arrays(rows)
    assert materialized(ui) == sorted(set(TEMPERATURES) - set(DIVERGING))
    ui.page.goto("/assets/simulation?view=partitions&partition=100K")
    expect(ui.page.get_by_text("Materialized (17)")).to_be_visible(timeout=RUN_MS)
    expect(ui.page.get_by_text("Failed (3)")).to_be_visible(timeout=RUN_MS)
    ui.picture("backfill-partitions", height=760)

    for key in DIVERGING:
        (broken / key).unlink()
    ui.page.goto(f"/runs/{run_with(ui, count=1)}")
    ui.run_again_from_failure()
    again = run_with(ui, count=2)
    ui.page.goto(f"/runs/{again}")
    ui.wait_for_status("Success")

    rows = ui.home.jobs()
    assert len(rows) == 23
    assert partitions(row for row in rows if row.run_id == again) == DIVERGING
    assert len(arrays(rows) - {array}) == 1
    assert materialized(ui) == sorted(TEMPERATURES)
    ui.page.goto("/assets/simulation?view=partitions")
    expect(ui.page.get_by_text("Materialized (20)")).to_be_visible(timeout=RUN_MS)
    expect(ui.page.get_by_text("Failed (0)")).to_be_visible()

    ui.page.goto(f"/runs?q[0]=tag%3Adagster_hpc%2Fjob_id%3D{array}")
    ui.page.get_by_text("Show runs within backfills").click()
    expect(ui.page.get_by_text(run_with(ui, count=2, oldest=True)[:8]).first).to_be_visible(timeout=RUN_MS)
    expect(ui.page.get_by_text(again[:8])).to_have_count(0)
    ui.picture("runs-by-job", height=340)
    ui.page.goto("/assets/simulation")
    ui.page.get_by_text("Plots").click(timeout=SLOW_MS)
    expect(ui.page.get_by_text("node_hours").first).to_be_visible(timeout=RUN_MS)
    ui.picture("plots", height=940)


def test_a_detached_run_ends_at_once_and_the_materialization_appears_later(cluster_ui: UI) -> None:
    from playwright.sync_api import expect  # here, so that a machine without it can say so

    ui = cluster_ui
    going_on = Path(ui.home.variables["BROWSER_FILES"]) / "long_run"
    going_on.touch()
    before = {row.token for row in ui.home.jobs()}

    ui.switch_on(LOCATION, "hpc_jobs")
    ui.open_group("detached", LOCATION)
    ui.materialize_button.click()
    run_id = run_of(ui, "long_run")
    ui.page.goto(f"/runs/{run_id}")
    ui.wait_for_status("Success")
    ui.picture("detached-run")
    (job,) = [row for row in ui.home.jobs() if row.token not in before]
    assert job.run_id == run_id
    assert not job.state.is_final
    ui.page.goto("/assets/long_run")
    expect(ui.page.get_by_text("Never materialized").first).to_be_visible(timeout=RUN_MS)

    going_on.unlink()
    expect(ui.page.get_by_text("Never materialized")).to_have_count(0, timeout=RUN_MS)
    ui.page.reload()  # which the rest of an open page waits for
    expect(ui.metadata("state")).to_contain_text("COMPLETED", timeout=RUN_MS)
    expect(ui.metadata("job_id")).to_contain_text(str(job.job_id))
    expect(ui.metadata("stdout_tail")).to_contain_text("done")
    ui.picture("detached-asset", height=620)
    with ui.home.instance() as instance:
        records = instance.fetch_materializations(dg.AssetKey("long_run"), limit=10).records
    assert len(records) == 1


def test_a_run_says_why_its_job_waits(cluster_ui: UI) -> None:
    ui = cluster_ui
    ui.open_group("patience", LOCATION)
    ui.materialize_button.click()
    wait_until(lambda: ui.home.newest("patient") is not None, RUN_S, lambda: f"no job: {ui.home.jobs()}")
    job = ui.home.newest("patient")
    assert job is not None
    ui.page.goto(f"/runs/{job.run_id}")
    ui.page.get_by_text("BeginTime").first.wait_for(timeout=RUN_MS)
    ui.picture("waiting")
    ui.wait_for_status("Success")


def run_of(ui: UI, asset: str) -> str:
    """The run of this asset, once it is over."""
    with ui.home.instance() as instance:

        def over() -> list[dg.DagsterRun]:
            runs = instance.get_runs()
            return [run for run in runs if run.is_finished and dg.AssetKey(asset) in (run.asset_selection or ())]

        wait_until(lambda: bool(over()), RUN_S, lambda: f"no run of {asset} is over: {list(instance.get_runs())}")
        return over()[0].run_id


def run_with(ui: UI, *, count: int, oldest: bool = False) -> str:
    """The newest run, or the oldest, once there are so many and none of them is under way."""
    with ui.home.instance() as instance:

        def over() -> list[dg.DagsterRun]:
            runs = list(instance.get_runs())
            return runs if all(run.is_finished for run in runs) else []

        wait_until(lambda: len(over()) == count, RUN_S, lambda: f"no {count} runs: {list(instance.get_runs())}")
        return over()[-1 if oldest else 0].run_id


def partitions(rows: object) -> list[str]:
    """The partitions of these rows of the ledger, sorted."""
    return sorted(str(row.partition_key) for row in rows)  # type: ignore[attr-defined]


def arrays(rows: list[JobRow]) -> set[str]:
    """Slurm's ids of the array jobs that these rows are elements of."""
    return {str(row.job_id).partition("_")[0] for row in rows}


def materialized(ui: UI) -> list[str]:
    """The partition of each materialization, however often there is one."""
    with ui.home.instance() as instance:
        records = instance.fetch_materializations(SIMULATION, limit=100).records
    return sorted(str(record.partition_key) for record in records)
