from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.components.environment import environment
from tests.systems.needs import REPOSITORY


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader works: an empty folder, a home, an environment to install into; /apps and /scratch by other names."""
    folder, home = tmp_path / "folder", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    (tmp_path / "apps").mkdir()
    shutil.copy(REPOSITORY / "definitions" / "programs" / "bitcount", tmp_path / "apps" / "bitcount")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")  # the embedded scheduler goes away soon after the last job
    monkeypatch.chdir(folder)
    for name, value in environment(tmp_path / "env").items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def names(tmp_path: Path) -> dict[str, str]:
    """What the examples of the pages are called here."""
    return {"/home/me": str(tmp_path / "home"), "/scratch/": f"{tmp_path}/scratch/", "/apps/": f"{tmp_path}/apps/"}
