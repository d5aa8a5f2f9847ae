"""A sensor is switched on in the UI; a file that somebody drops is materialized."""

from __future__ import annotations

import os
import time

import dagster as dg
import pytest

from tests.browser.ui import RUN_MS, UI
from tests.definitions.dagster_home import finished_run, metadata_in

pytestmark = pytest.mark.needs("browser")


def test_a_file_in_the_inbox_is_materialized_once_the_sensor_is_on(ui: UI) -> None:
    from playwright.sync_api import expect  # here, so that a machine without it can say so

    dropped = ui.home.inbox / "measured.txt"
    dropped.write_text("0110\n1111\n0110\n")
    os.utime(dropped, (time.time() - 60,) * 2)

    ui.switch_on("dagster_hpc_demo", "samples_in_inbox")

    with ui.home.instance() as instance:
        run = finished_run(instance, {"dagster/sensor_name": "samples_in_inbox"})
        assert metadata_in(instance, run.run_id, "samples")["source"] == str(dropped)
        assert metadata_in(instance, run.run_id, "histogram")["most_frequent"] == "0110"
        assert run.status is dg.DagsterRunStatus.SUCCESS
    ui.picture("sensor", height=620)
    ui.open_asset("histogram")
    expect(ui.metadata("most_frequent")).to_contain_text("0110", timeout=RUN_MS)
