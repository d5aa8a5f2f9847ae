"""What a process of the campaign does: it runs one job through the public names, and may die at any moment of it.

Its answer is a file, written when the result is in its hands. A process that was killed leaves none.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click import ClickException

from dagster_hpc import Command, ExecutionProfile, HPCError, HPCJobRunner, JobFailed, JobResult, SlurmTarget
from dagster_hpc.cli.main import main as command_line
from dagster_hpc.engine.clock import Clock

ELEMENTS = 3


@dataclass(frozen=True)
class Wish:
    """What one process is to do."""

    name: str
    folder: str
    key: str = ""
    verb: str = "run"  # run, map, submit (and wait in a second call), cancel, poll
    seconds: float = 1.0
    code: int = 0
    dies_at: tuple[str, int] | None = None  # one of the engine's named points, and at which passage
    max_jobs: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def answer(self) -> Path:
        return Path(self.folder, "answers", f"{self.name}.json")


def live(wish: Wish) -> None:
    """The whole life of the process."""
    os.setsid()
    os.environ.update(wish.environment)
    log = os.open(Path(wish.folder, "logs", wish.name), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    passed = _watch_points(wish.dies_at)
    try:
        said = {"poll": _poll}.get(wish.verb, _ask)(wish)
    except JobFailed as error:
        said = {"results": [_told(error.result)]}
    except (HPCError, ClickException) as error:
        said = {"error": type(error).__name__, "words": str(error)}
    except Exception as error:  # noqa: BLE001 - what no user should ever see: the campaign counts it
        said = {"crash": type(error).__name__, "words": traceback.format_exc()}
    _write(wish.answer, {**said, "at": time.time(), "points": dict(passed)})
    sys.stdout.flush()
    os._exit(0)


def _ask(wish: Wish) -> dict[str, Any]:
    hpc = runner(wish)
    trace = Path(wish.folder, "traces", wish.key)
    element = '"$HPC_JOB_TOKEN.${HPC_ARRAY_INDEX:-0} ${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}" "$(date +%s.%N)"'
    began, ended = (f'printf "%s %s %s\\n" {word} {element} >>{trace}' for word in ("began", "ended"))
    script = f"{began}\nsleep {wish.seconds}\n{ended}\nexit {wish.code}"
    command = Command.shell(script, name=wish.key)
    if wish.verb == "map":
        results = hpc.map(command, [[str(index)] for index in range(ELEMENTS)], profile="plain", key=wish.key)
        return {"results": [_told(result) for result in results]}
    if wish.verb == "run":
        return {"results": [_told(hpc.run(command, profile="plain", key=wish.key))]}
    handle = hpc.submit(command, profile="plain", key=wish.key)
    if wish.verb == "cancel":
        time.sleep(wish.seconds / 20)
        hpc.cancel(handle)
    return {"results": [_told(hpc.wait(handle))]}


def _poll(wish: Wish) -> dict[str, Any]:
    """What `dagster-hpc jobs --refresh` does, again and again."""
    while not Path(wish.folder, "over").exists():
        try:
            command_line(["jobs", "--refresh", "--json"], standalone_mode=False)
        except (HPCError, ClickException) as error:  # one look may say that the ledger does not answer; the next is made
            print(error, flush=True)
        time.sleep(0.5)
    return {}


def runner(wish: Wish) -> HPCJobRunner:
    """A target of short delays, with those of its fields that this version has."""
    fields: dict[str, Any] = {
        "poll_interval": 1.0, "file_delay": 20.0, "accounting_delay": 5.0, "scheduler_patience": 120.0,
        "lost_after": 120.0, "max_jobs": wish.max_jobs,
    }  # fmt: skip
    known = {name: value for name, value in fields.items() if name in SlurmTarget.model_fields}
    return HPCJobRunner(
        target=SlurmTarget(**known),
        profiles={"plain": ExecutionProfile(walltime="10m")},
        work_root=str(Path(wish.folder, "work")),
    )


def _told(result: JobResult) -> dict[str, Any]:
    handle = result.handle
    return {"token": handle.token, "id": handle.job_id, "state": str(result.state), "reason": result.reason}


def _watch_points(dies_at: tuple[str, int] | None) -> Counter[str]:
    """Count the named points that this process passes, and let it die at one of them as by a power cut."""
    passed: Counter[str] = Counter()
    point: Callable[[Clock, str], None] = Clock.point

    def watched(clock: Clock, name: str) -> None:
        passed[name] += 1
        if dies_at == (name, passed[name]):
            os.kill(os.getpid(), signal.SIGKILL)
        point(clock, name)

    Clock.point = watched  # type: ignore[method-assign,assignment]
    return passed


def _write(path: Path, content: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content))
    temporary.rename(path)
