"""Dagster's UI in the words of its user: open an asset, launch it with a config, wait for the run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.definitions.dagster_home import RUN_S, DagsterHome

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

SLOW_MS = 60_000  # the first answer of a code location that is still loading
RUN_MS = RUN_S * 1000.0
WIDTH, HEIGHT = 1400, 1000


@dataclass
class UI:
    """One browser page on one Dagster."""

    home: DagsterHome
    page: Page
    folders: Sequence[Path]  # for the screenshots

    def picture(self, name: str, height: int = HEIGHT) -> None:
        """A screenshot, of a higher window where there is more to see."""
        self.page.set_viewport_size({"width": WIDTH, "height": height})
        for folder in self.folders:
            self.page.screenshot(path=folder / f"{name}.png")
        self.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})

    def open_asset(self, name: str) -> None:
        self.page.goto(f"/assets/{name}")
        self.page.get_by_text("Latest materialization").first.wait_for(timeout=SLOW_MS)

    def open_group(self, name: str) -> None:
        self.page.goto(f"/locations/dagster_hpc_demo/asset-groups/{name}/lineage")
        self.materialize_button.wait_for(timeout=SLOW_MS)

    @property
    def materialize_button(self) -> Locator:
        return self.page.get_by_role("button", name="Materialize").first

    def launch(self, config: str, picture: str) -> str:
        """Open the launchpad of what is on the page, replace its config, and go; the id of the run."""
        self.materialize_button.locator("xpath=following::button[1]").click()
        self.page.get_by_text("Open launchpad").click()
        pad = self.page.get_by_role("dialog")
        pad.get_by_text("No errors").wait_for(timeout=SLOW_MS)
        pad.locator(".CodeMirror").first.click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(config)
        pad.get_by_text("No errors").wait_for(timeout=SLOW_MS)
        self.picture(picture)
        pad.get_by_role("button", name="Materialize").click()
        self.page.wait_for_url("**/runs/*", timeout=SLOW_MS)
        return self.page.url.rpartition("/")[2]

    def wait_for_status(self, words: str) -> None:
        """Wait until the head of the run's page says how the run ended, which must be so."""
        end = self.page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
        end.wait_for(timeout=RUN_MS)
        assert end.inner_text() == words

    def metadata(self, key: str) -> Locator:
        """The row of the asset page's metadata with this key."""
        name = self.page.get_by_text(key, exact=True)
        return self.page.get_by_role("row").filter(has=name)
