"""Programs that speak Dagster Pipes, run as jobs on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import Command, HPCJobRunner, LocalTarget, PipesHPCClient
from tests.resources.conftest import hpc as unhurried_hpc  # noqa: F401

Program = Callable[..., Command]


def message(method: str, **params: Any) -> str:
    """A message as a program without any library writes it."""
    return json.dumps({"__dagster_pipes_version": "0.1", "method": method, "params": params})


@pytest.fixture
def hpc(unhurried_hpc: HPCJobRunner) -> HPCJobRunner:  # noqa: F811
    """The runner of the other tests, which does not wait long for messages that never come."""
    spool = unhurried_hpc.target.spool  # type: ignore[attr-defined]
    return HPCJobRunner(
        target=LocalTarget(poll_interval=0.3, spool=spool, file_delay=0.5), profiles=unhurried_hpc.profiles,
        work_root=unhurried_hpc.work_root, ledger_url=unhurried_hpc.ledger_url,
    )  # fmt: skip


@pytest.fixture
def pipes(hpc: HPCJobRunner) -> PipesHPCClient:
    return PipesHPCClient(runner=hpc)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Python text as a command. What stands in `inside` runs with Pipes open, and can say `pipes`."""

    def write(inside: str = "", *, before: str = "", after: str = "", args: tuple[str, ...] = ()) -> Command:
        lines = ["import os, sys, time", "from dagster_pipes import open_dagster_pipes", *before.splitlines()]
        if inside:
            lines += ["with open_dagster_pipes() as pipes:", *(f"    {line}" for line in inside.splitlines())]
        path = tmp_path / f"program{len(list(tmp_path.glob('program*')))}.py"
        path.write_text("\n".join([*lines, *after.splitlines()]) + "\n")
        return Command(sys.executable, args=[str(path), *args])

    return write
