"""The command as a person at a terminal uses it, and what it prints: in this process, or in one of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from click.testing import CliRunner

from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget
from dagster_hpc.cli.main import main
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, Ledger

T = TypeVar("T")
COMMAND = [sys.executable, "-m", "dagster_hpc.cli"]


class Terminal:
    """A shell in `folder` whose ledger is `ledger.db` in it, and a runner that submits jobs to the local target."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/ledger.db"
        self.hpc = HPCJobRunner(
            target=LocalTarget(name="laptop", spool=str(folder / "spool")),
            profiles={"small": ExecutionProfile(memory_per_node="64M")},
            work_root=str(folder / "work"),
            ledger_url=self.url,
        )

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The command in this process, which costs none of the seconds that a Python takes to start."""
        argv = ["--ledger", self.url, *words]
        with _standing_in(self.folder):
            done = CliRunner().invoke(main, argv, prog_name="dagster-hpc", env=dict(env or {}))
        stderr = done.stderr
        if done.exc_info and not issubclass(done.exc_info[0], SystemExit):
            stderr += "".join(traceback.format_exception(*done.exc_info))
        return subprocess.CompletedProcess(argv, done.exit_code, done.stdout, stderr)

    def run_alone(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command as it is started from a shell."""
        argv = [*COMMAND, "--ledger", self.url, *words]
        return subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, timeout=120)

    def start(self, *words: str) -> subprocess.Popen[str]:
        argv = [*COMMAND, "--ledger", self.url, *words]
        return subprocess.Popen(argv, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def json(self, *words: str, code: int = 0, env: Mapping[str, str] | None = None) -> Any:
        done = self.run(*words, "--json", env=env)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def on_tty(self, *words: str, columns: int = 80) -> str:
        """What the command prints where its output is a terminal."""
        ours, theirs = pty.openpty()
        environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
        argv = [*COMMAND, "--ledger", self.url, *words]
        process = subprocess.Popen(argv, cwd=self.folder, env=environment, stdout=theirs, stderr=theirs)
        os.close(theirs)
        text = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            text += chunk
        os.close(ours)
        process.wait(60)
        return text.decode().replace("\r\n", "\n")

    def ledger(self) -> Ledger:
        return Ledger(self.url)

    def keep(self, *rows: JobRow) -> None:
        """Put jobs into the ledger that never ran."""
        ledger = self.ledger()
        _keep(ledger, rows)
        ledger.close()


def _keep(ledger: Ledger, rows: Sequence[JobRow]) -> None:
    """As they are, whatever state they are in: a claim would begin them anew."""
    assert len(ledger.insert_missing([replace(row, held_identity=row.identity) for row in rows])) == len(rows)


@contextmanager
def _standing_in(folder: Path) -> Iterator[None]:
    """In this folder, and afterwards as if never there: the code location in it may be another the next time."""
    before, path, modules = Path.cwd(), list(sys.path), set(sys.modules)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}  # Dagster's stay
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
                del sys.modules[name]


def row(token: str, **values: Any) -> JobRow:
    """A job as the ledger keeps it."""
    return JobRow(
        **{
            "token": token,
            "batch": token.partition(".")[0],
            "name": "count",
            "target": "slurm",
            "scheduler": '{"kind": "slurm", "cluster": ""}',
            "work_dir": f"/scratch/{token}",
            "state": JobState.COMPLETED,
            "created_at": time.time(),
            "owner": "login1 17 4711 boot",
            **values,
        }
    )


def eventually(look: Callable[[], T | None], within: float = 30.0) -> T:
    """Ask again and again until the answer is true."""
    deadline = time.monotonic() + within
    while not (answer := look()):
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.05)
    return answer


def plain(text: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
