"""`python -m definitions.demo`, as `make demo` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.systems.needs import REPOSITORY


def demo(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "definitions.demo"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **variables},
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_it_shows_result_and_cost_and_how_to_see_them(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("110100", "60.8%", "█", "Hello, world", "bit_counts", "COMPLETED", "Queue", "MiB", "Node"):
        assert words in done.stdout
    home = tmp_path / ".demo"
    assert f"DAGSTER_HOME={home} DAGSTER_HPC_WORK_ROOT={home}/work" in done.stdout
    assert f"dagster dev -d {REPOSITORY} -m definitions" in done.stdout
    assert "DEBUG" not in done.stdout + done.stderr
    assert (home / "dagster_hpc" / "ledger.db").exists()
    assert (home / "work" / "bit_counts").is_dir()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"DAGSTER_HPC_TARGET": "locall"}, "did you mean 'local'"),
        ({"DAGSTER_HPC_WORK_ROOT": "/proc/nowhere"}, "check that work_root is writable"),
    ],
)
def test_it_says_what_went_wrong(variables: dict[str, str], words: str, tmp_path: Path) -> None:
    done = demo(tmp_path, **variables)
    assert done.returncode == 1
    assert words in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
