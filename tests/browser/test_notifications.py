"""The ticks of the sensor that writes to people, as somebody sees them who has switched it on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import browsing, serving
from tests.browser.ui import RUN_MS, UI
from tests.definitions.dagster_home import RUN_S, DagsterHome
from tests.notifications.servers import WebServer, web_server
from tests.notifications.test_sensor import PIPELINE
from tests.systems.daemon import wait_until
from tests.systems.needs import require

pytestmark = pytest.mark.needs("browser")


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
def watched(tmp_path: Path, web: WebServer, request: pytest.FixtureRequest) -> Iterator[UI]:
    """A Dagster with channels of which the mail server is down."""
    require("browser")
    home, file = DagsterHome(tmp_path / "home"), tmp_path / "watched.py"
    spool, work = str(tmp_path / "spool"), str(tmp_path / "work")
    file.write_text(PIPELINE.format(port=1, url=web.url, spool=spool, work=work))
    with serving(home, "-f", str(file)) as (_, address), browsing(home, address, tmp_path, request) as ui:
        yield ui


def test_the_ticks_say_who_was_told_and_which_channel_is_down(watched: UI, tmp_path: Path, web: WebServer) -> None:
    from playwright.sync_api import expect  # here, so that a machine without it can say so

    watched.switch_on("watched.py", "hpc_notifications")
    page = watched.page
    ticks = page.get_by_role("button", name="0 runs requested")
    expect(ticks.first).to_be_visible(timeout=RUN_MS)  # it has begun
    watched.home.run("dagster", "asset", "materialize", "-f", str(tmp_path / "watched.py"), "--select", "trajectory")
    wait_until(lambda: bool(web.received), RUN_S, lambda: str(watched.home.jobs()))

    page.reload()
    ticks.first.click()
    expect(page.get_by_text("localhost did not take the mail").first).to_be_visible(timeout=RUN_MS)
    watched.picture("notifications", height=720)
    assert len(web.received) == 1
