"""Dagster's UI in the words of its user: open an asset, launch it with a config, wait for the run."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.definitions.dagster_home import RUN_S, DagsterHome
from tests.systems.daemon import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

SLOW_MS = 60_000  # the first answer of a code location that is still loading
RUN_MS = RUN_S * 1000.0
WIDTH, HEIGHT = 1400, 1000
NAVIGATION = 240
COLOURS = 64  # enough for Dagster's pages, and a third of the size


@dataclass
class UI:
    """One browser page on one Dagster."""

    home: DagsterHome
    page: Page
    folders: Sequence[Path]  # for the screenshots

    def picture(self, name: str, height: int = HEIGHT, *, of: Locator | None = None) -> None:
        """A screenshot without the navigation at the left, of a higher window where there is more to see; or `of` this."""
        from PIL import Image  # here, so that a machine without it can say so

        self.page.set_viewport_size({"width": WIDTH, "height": max(height, HEIGHT)})
        page = {"x": NAVIGATION, "y": 0, "width": WIDTH - NAVIGATION, "height": height}
        clip = of.bounding_box() if of else page
        image = Image.open(io.BytesIO(self.page.screenshot(clip=clip)))  # type: ignore[arg-type]
        self.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        for folder in self.folders:
            image.convert("RGB").quantize(COLOURS).save(folder / f"{name}.png", optimize=True)

    def open_asset(self, name: str) -> None:
        self.page.goto(f"/assets/{name}")
        self.page.get_by_text("Latest materialization").first.wait_for(timeout=SLOW_MS)

    def open_group(self, name: str, location: str = "dagster_hpc_demo") -> None:
        self.page.goto(f"/locations/{location}/asset-groups/{name}/lineage")
        self.materialize_button.wait_for(timeout=SLOW_MS)

    def open_partitioned(self, name: str) -> None:
        self.page.goto(f"/assets/{name}")
        self.page.get_by_text("Materialize…").first.wait_for(timeout=SLOW_MS)

    @property
    def materialize_button(self) -> Locator:
        return self.page.get_by_role("button", name="Materialize").first

    @property
    def dialog(self) -> Locator:
        """The dialog in front of the page; a menu that is about to close calls itself one, too."""
        return self.page.locator('[role="dialog"][aria-modal="true"]')

    def launch(self, config: str, picture: str) -> str:
        """Open the launchpad of what is on the page, replace its config, and go; the id of the run."""
        self.materialize_button.locator("xpath=following::button[1]").click()
        self.page.get_by_text("Open launchpad").click()
        pad = self.dialog
        pad.get_by_text("No errors").wait_for(timeout=SLOW_MS)
        pad.locator(".CodeMirror").first.click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(config)
        pad.get_by_text("No errors").wait_for(timeout=SLOW_MS)
        self.picture(picture, of=pad)
        pad.get_by_role("button", name="Materialize").click()
        self.page.wait_for_url("**/runs/*", timeout=SLOW_MS)
        return self.page.url.rpartition("/")[2]

    def launch_backfill(self, picture: str) -> None:
        """Choose all partitions of the asset on the page, and go."""
        self.page.get_by_text("Materialize…").first.click()
        dialog = self.dialog
        launch = dialog.get_by_role("button", name="Launch backfill")

        def all_are_chosen() -> bool:
            """Before the page has the partitions, this chooses none."""
            dialog.get_by_role("button", name="All", exact=True).click(timeout=SLOW_MS)
            return launch.is_enabled()

        wait_until(all_are_chosen, RUN_S, lambda: f"no backfill can be launched: {dialog.inner_text()}")
        self.picture(picture, height=700)
        launch.click()
        dialog.wait_for(state="hidden", timeout=SLOW_MS)

    def run_again_from_failure(self) -> None:
        """On the page of a failed run, run again what failed."""
        self.page.get_by_role("button", name="Re-execute").first.locator("xpath=following::button[1]").click(timeout=SLOW_MS)
        self.page.get_by_role("menuitem", name="From failure").click()

    def switch_on(self, location: str, sensor: str) -> None:
        """Open the page of a sensor, which is off, and turn it on."""
        from playwright.sync_api import expect  # here, so that a machine without it can say so

        self.page.goto(f"/locations/{location}/sensors/{sensor}")
        switch = self.page.get_by_role("checkbox").first
        expect(switch).not_to_be_checked(timeout=SLOW_MS)
        switch.dispatch_event("click")  # the box itself is hidden behind its picture
        expect(switch).to_be_checked(timeout=SLOW_MS)

    def wait_for_status(self, words: str) -> None:
        """Wait until the head of the run's page says how the run ended, which must be so."""
        end = self.page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
        end.wait_for(timeout=RUN_MS)
        assert end.inner_text() == words

    def metadata(self, key: str) -> Locator:
        """The row of the asset page's metadata with this key."""
        name = self.page.get_by_text(key, exact=True)
        return self.page.get_by_role("row").filter(has=name)
