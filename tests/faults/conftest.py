"""The places that the tests of this folder run in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.place import Place
from tests.systems.slurm import SlurmCluster

# Of the embedded scheduler: it ends jobs, and itself, sooner than for users.
KNOBS = {"KILL_AFTER": "0.3", "POLL": "0.5", "SAMPLE": "0.1", "IDLE": "1"}
LOCAL = pytest.param("local")
SLURM = pytest.param("slurm", marks=pytest.mark.needs("slurm"))


@pytest.fixture(autouse=True)
def quick_local_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KNOBS.items():
        monkeypatch.setenv(f"LOCAL_BATCH_{name}", value)


@pytest.fixture(params=[LOCAL, SLURM])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Both targets, one after the other."""
    kind: str = request.param
    cluster: SlurmCluster | None = request.getfixturevalue("slurm") if kind == "slurm" else None
    yield from _open(kind, tmp_path, monkeypatch, cluster)


@pytest.fixture
def on_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    yield from _open("local", tmp_path, monkeypatch, None)


@pytest.fixture
def on_slurm(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    yield from _open("slurm", tmp_path, monkeypatch, slurm)


@pytest.fixture
def on_bare_slurm(
    slurm_without_accounting: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A Slurm without accounting."""
    yield from _open("slurm", tmp_path, monkeypatch, slurm_without_accounting)


def _open(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch, cluster: SlurmCluster | None) -> Iterator[Place]:
    if cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    path = os.environ["PATH"]
    place = Place(kind, folder, cluster)
    yield place
    monkeypatch.setenv("PATH", path)  # a test may have taken the commands away
    place.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a tmpfs with these options, for root only."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        at = tmp_path / f"disk{len(mounted)}"
        at.mkdir()
        argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at)]
        if os.geteuid() or not shutil.which("mount") or subprocess.run(argv, capture_output=True).returncode:
            pytest.skip("a small disk is a tmpfs, which only root may mount: run the tests as root, not in a sandbox")
        mounted.append(at)
        return at

    yield mount
    for at in mounted:
        subprocess.run(["umount", "-l", str(at)], check=True)
