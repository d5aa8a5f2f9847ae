"""`python -m definitions.demo`, as `make demo` runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from tests.systems.daemon import wait_until
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
    assert (home / "work" / "bit_counts").is_dir()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("histogram"))


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_is_no_traceback(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "definitions.demo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    work = tmp_path / ".demo" / "work" / "hello"
    wait_until(lambda: work.exists(), 60, lambda: "the demo submits no job")
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, said
    assert "Traceback" not in said
    assert "Stack Trace" not in said
    assert "the next demo joins it" in said


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


def test_its_dagster_opens_without_a_dialog(tmp_path: Path) -> None:
    from definitions.demo import use_folder

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DAGSTER_HOME", "put back afterwards")
        environment.setenv("DAGSTER_HPC_WORK_ROOT", str(tmp_path / "work"))
        use_folder(tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.nux_enabled
        assert not instance.telemetry_enabled
