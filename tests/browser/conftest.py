"""The demo's code location in Dagster's own UI, and a headless browser to use it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.ui import HEIGHT, UI, WIDTH
from tests.definitions.dagster_home import DagsterHome
from tests.systems.daemon import LOOPBACK, port_answers
from tests.systems.needs import REPOSITORY, require

PICTURES = os.environ.get("DAGSTER_HPC_SCREENSHOTS")  # a folder in which the screenshots outlive the tests
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DagsterHome, str]]:
    """A Dagster and the address of its UI."""
    require("browser")
    home, port = DagsterHome(tmp_path_factory.mktemp("served")), free_port()
    where = ["-w", str(REPOSITORY / "workspace.yaml"), "-h", LOOPBACK, "-p", str(port)]
    with home.running("dagster-webserver", *where, ready=lambda: port_answers(port)):
        yield home, f"http://{LOOPBACK}:{port}"


@pytest.fixture
def ui(served: tuple[DagsterHome, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[UI]:
    """A browser of its own for each test; a failure leaves a picture of what it saw."""
    from playwright.sync_api import sync_playwright

    home, address = served
    folders = [tmp_path, *([Path(PICTURES)] if PICTURES else [])]
    failures = request.session.testsfailed
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, base_url=address)
        made = UI(home, page, folders)
        try:
            yield made
        finally:
            if request.session.testsfailed > failures:
                made.picture(f"failed-{request.node.name}")
            browser.close()
