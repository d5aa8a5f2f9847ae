"""Every batch system for which there is a file in `systems/`, one after the other."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.contract.site import Site, opened
from tests.contract.systems.base import System

KINDS = ("local", "slurm", "pbs", "pbs-main", "miyabi", "gadi", "torque", "pjm", "fugaku", "lsf", "sge", "flux")


def system_class(kind: str) -> type[System]:
    """The subclass of `System` that describes this kind."""
    module = import_module(f"tests.contract.systems.{_file(kind)}")
    (found,) = [
        cls
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, System) and getattr(cls, "kind", None) == kind
    ]
    return found


def _file(kind: str) -> str:
    return kind.replace("-", "_")


def _systems() -> Iterator[Any]:
    for kind in KINDS:
        if Path(__file__).with_name("systems").joinpath(f"{_file(kind)}.py").exists():
            cls = system_class(kind)
            yield pytest.param(cls, id=kind, marks=[pytest.mark.needs(*cls.needs)] if cls.needs else [])


@pytest.fixture(scope="session", params=_systems())
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """One batch system, running. What needs it runs together, so that each is started once."""
    system: System = request.param()
    if system.shares:
        system.share(request.getfixturevalue(system.shares))
    folder = Path(tempfile.mkdtemp(prefix=f"dagster-hpc-{system.kind}-"))
    folder.chmod(0o755)
    try:
        system.start(folder)
        yield system
    finally:
        system.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def reachable(request: pytest.FixtureRequest, isolated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `isolated` takes out of the environment of every test, a test of a system needs."""
    if "system" in request.fixturenames:
        for name, value in request.getfixturevalue("system").environment().items():
            monkeypatch.setenv(name, value)


@pytest.fixture
def site(system: System) -> Iterator[Site]:
    """A folder of jobs for one test."""
    with opened(system) as site:
        yield site
