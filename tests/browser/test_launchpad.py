"""What a newcomer does first: open the demo, change a job on the launchpad, look at what came out; and stop one."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc.engine.job import JobState
from tests.browser.ui import RUN_MS, UI
from tests.definitions.dagster_home import RUN_S, metadata_in
from tests.systems.daemon import wait_until

pytestmark = pytest.mark.needs("browser")

SHORTER = """\
ops:
  bit_counts:
    config:
      overrides:
        walltime: "00:01:23"
"""
LONG = """\
ops:
  hello:
    config:
      seconds: 600
"""


def test_a_walltime_from_the_launchpad_reaches_the_job(ui: UI) -> None:
    from playwright.sync_api import expect  # here, so that a machine without it can say so

    ui.open_group("bitcount")
    ui.picture("assets", height=560)
    run_id = ui.launch(SHORTER, "launchpad")
    ui.wait_for_status("Success")
    ui.picture("run")

    ui.open_asset("bit_counts")
    expect(ui.metadata("state")).to_contain_text("COMPLETED", timeout=RUN_MS)
    with ui.home.instance() as instance:
        recorded = metadata_in(instance, run_id, "bit_counts")
    expect(ui.metadata("job_id")).to_contain_text(str(recorded["job_id"]))
    expect(ui.metadata("elapsed_s")).to_contain_text(str(recorded["elapsed_s"])[:4])
    ui.picture("metadata", height=1560)
    assert "--time=83" in str(recorded["script"])

    ui.metadata("script").get_by_text("Show Markdown").click()
    expect(ui.dialog).to_contain_text("#LOCAL --time=83")
    ui.picture("script")

    ui.open_asset("histogram")
    ui.metadata("picture").get_by_text("Show Markdown").click()
    image = ui.page.locator('img[src^="data:image/png;base64,"]')
    image.wait_for()
    expect(image).to_have_js_property("complete", True)
    assert image.evaluate("image => image.naturalWidth") > 0
    ui.picture("histogram")


def test_terminating_a_run_cancels_its_job(ui: UI) -> None:
    ui.open_asset("hello")
    run_id = ui.launch(LONG, "launchpad-of-hello")
    wait_until(lambda: ui.home.live_job() is not None, RUN_S, lambda: f"no job runs: {ui.home.jobs()}")
    job = ui.home.live_job()
    assert job is not None
    assert processes_of(job.token)
    ui.page.get_by_text(f"job {job.job_id}: RUNNING").first.wait_for(timeout=RUN_MS)
    ui.page.get_by_text("View stdout / stderr").first.click()  # which chooses the step
    ui.page.get_by_text("stdout", exact=True).first.click()
    ui.page.get_by_text("s to go").first.wait_for(timeout=RUN_MS)
    ui.picture("log", height=620)
    ui.page.get_by_text("Events", exact=True).first.click()

    ui.page.get_by_role("button", name="Terminate").click()
    ui.dialog.get_by_role("button", name="Terminate").click()
    ui.wait_for_status("Canceled")
    ui.page.get_by_text("its job was cancelled").first.wait_for(state="attached")
    ui.picture("terminated", height=531)

    with ui.home.instance() as instance:
        run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.CANCELED
    (row,) = [row for row in ui.home.jobs() if row.token == job.token]
    assert row.state is JobState.CANCELLED
    assert not processes_of(job.token)


def processes_of(token: str) -> list[str]:
    """The command lines of the job's own processes, which have its token in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"HPC_JOB_TOKEN={token}\0".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue  # it has ended meanwhile, or is somebody else's
    return found
