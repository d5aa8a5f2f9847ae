"""The demo, and assets on a real Slurm, in Dagster's own UI, and a headless browser to use it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.browser.ui import HEIGHT, UI, WIDTH
from tests.definitions.dagster_home import DagsterHome
from tests.systems.daemon import LOOPBACK, port_answers
from tests.systems.needs import REPOSITORY, require
from tests.systems.slurm import SlurmCluster

PICTURES = os.environ.get("DAGSTER_HPC_SCREENSHOTS")  # a folder in which the screenshots outlive the tests
LOCATION = "tests.browser.cluster_assets"
DAEMONS = {"BACKFILL", "SENSOR"}
QUEUED = """\
telemetry:
  enabled: false
nux:
  enabled: false
run_coordinator:
  module: dagster
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
"""
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def daemons_of(home: DagsterHome) -> set[str]:
    """Those that have shown that they live: without one, the UI warns, and what it launches stays where it is."""
    with home.instance() as instance:
        return set(instance.get_daemon_heartbeats())


@contextmanager
def serving(home: DagsterHome, *location: str) -> Iterator[tuple[DagsterHome, str]]:
    """The daemon and the UI of this Dagster; where the UI is."""
    port = free_port()
    where = ["-h", LOOPBACK, "-p", str(port)]
    with (
        home.running("dagster-webserver", *location, *where, ready=lambda: port_answers(port)),
        home.running("dagster-daemon", "run", *location, ready=lambda: daemons_of(home) >= DAEMONS),
    ):
        yield home, f"http://{LOOPBACK}:{port}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DagsterHome, str]]:
    """A Dagster with the demo in it."""
    require("browser")
    home = DagsterHome(tmp_path_factory.mktemp("served"))
    with serving(home, "-w", str(REPOSITORY / "workspace.yaml")) as where:
        yield where


@pytest.fixture(scope="module")
def served_on_slurm(slurm: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DagsterHome, str]]:
    """A Dagster whose jobs run on a real Slurm."""
    require("browser")
    folder = tmp_path_factory.mktemp("on-slurm")
    files = folder / "files"
    files.mkdir()
    home = DagsterHome(folder, {**slurm.environment, "BROWSER_FILES": str(files)})
    (home.folder / "dagster.yaml").write_text(QUEUED)  # as Dagster is by default: backfills want a queue
    with serving(home, "-m", LOCATION) as where:
        yield where


@pytest.fixture
def ui(served: tuple[DagsterHome, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[UI]:
    """The demo in a browser."""
    with browsing(*served, tmp_path, request) as made:
        yield made


@pytest.fixture
def cluster_ui(
    served_on_slurm: tuple[DagsterHome, str], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[UI]:
    """The assets that run on Slurm, in a browser."""
    with browsing(*served_on_slurm, tmp_path, request) as made:
        yield made


@contextmanager
def browsing(home: DagsterHome, address: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[UI]:
    """A browser of its own for each test; a failure leaves a picture of what it saw."""
    from playwright.sync_api import sync_playwright

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
