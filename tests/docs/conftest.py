from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.components.project import entry_points
from tests.systems.needs import REPOSITORY

_CREATE = """\
#!{python}
import sys
from pathlib import Path
sys.path.insert(0, {repository!r})
from tests.components.project import Project
Project(Path(sys.argv[2]), sys.argv[2]).made()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader works: an empty folder, a home, and a site's /apps and /scratch under other names."""
    folder, home = tmp_path / "folder", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    (tmp_path / "apps").mkdir()
    shutil.copy(REPOSITORY / "definitions" / "programs" / "bitcount", tmp_path / "apps" / "bitcount")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")  # dagster-hpc, in jobs too
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")  # the embedded scheduler goes away soon after the last job
    monkeypatch.chdir(folder)
    projects(folder, monkeypatch)
    return folder


def projects(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for `create-dagster`, which asks the network, and what `uv sync` does for the project and for us."""
    program = folder.parent / "bin" / "create-dagster"
    program.parent.mkdir()
    program.write_text(_CREATE.format(python=sys.executable, repository=str(REPOSITORY)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{folder}/climate/src:{entry_points(folder.parent)}")


@pytest.fixture
def names(tmp_path: Path) -> dict[str, str]:
    """What the examples of the pages are called here."""
    return {"/home/me": str(tmp_path / "home"), "/scratch/": f"{tmp_path}/scratch/", "/apps/": f"{tmp_path}/apps/"}
