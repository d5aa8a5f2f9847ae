"""A real system that has stalled fails its tests once, and not each of them after a minute and a half of waiting."""

from __future__ import annotations

from typing import Protocol

import pytest

from tests.systems.groups import real_system

WAITED_S = 20.0  # a test that failed sooner did not wait for the system
RUNS_ON = {"torque": "slurm"}


class System(Protocol):
    def works(self) -> bool:
        """Whether it takes a job and brings it to its end."""


running: dict[str, System] = {}  # what the session's fixtures have started
_stalled: dict[str, str] = {}


def refuse_what_stalled(item: pytest.Item) -> None:
    """Before a test: fail it at once where its system has stalled."""
    if reason := _stalled.get(_system_of(item)):
        pytest.fail(reason, pytrace=False)


def look_after(item: pytest.Item, call: pytest.CallInfo[object], report: pytest.TestReport) -> None:
    """After a step of a test that failed when it had waited: does its system still work?"""
    name = _system_of(item)
    if report.failed and call.duration >= WAITED_S and name in running and name not in _stalled:
        if running[name].works():
            return
        _stalled[name] = f"{name} has stalled since {item.nodeid}, and no longer brings a job to its end"


def _system_of(item: pytest.Item) -> str:
    name = real_system(item)
    return RUNS_ON.get(name, name)
