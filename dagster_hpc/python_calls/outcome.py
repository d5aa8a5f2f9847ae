"""What a call has left: its value, or the exception that it raised."""

from __future__ import annotations

import base64
import json
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_hpc.engine.errors import HPCError, SchedulerUnavailable
from dagster_hpc.engine.job import JobFailed, JobResult, JobState, failure_of
from dagster_hpc.python_calls import worker

OUTPUT = "value"  # how the file of the value is called among the job's outputs
VALUE_PATH = f"{worker.FOLDER}/{worker.VALUE}"
_LATE_S, _LOOK_AGAIN_S = 5.0, 0.2  # a network file system may show a file later than the scheduler the end of its job


class CallFailed(JobFailed):
    """The function raised on the node, or could not be called there. `exception` is what it raised, where that can be had.

    `hpc.call` and `CallFuture.result` raise the exception itself, with this as its cause.

    Example:
        try:
            hpc.call(math.sqrt, -1, profile="small")
        except ValueError as error:
            assert isinstance(error.__cause__, CallFailed)
            print(error.__cause__.traceback, error.__cause__.result.handle.job_id)
    """

    default_advice = "read the traceback; it is in stderr.log of the work directory too."

    def __init__(self, result: JobResult, called: str, told: _Told, conceal: Callable[[str], str]) -> None:
        self.result, self.traceback, self.exception = result, conceal(told.traceback), told.raised()
        where = f"in {result.handle}" + (f", on rank {told.rank}" if told.rank else "")
        if told.type:
            message = f"{called} raised {told.type}: {conceal(told.words)} ({where})\n{self.traceback.rstrip()}"
        else:
            message = f"{called} did not come to its end: {conceal(told.words)} ({where})"
        HPCError.__init__(self, message, advice=self.default_advice, work_dir=result.handle.work_dir)


class ValueUnreadable(HPCError):
    """The function has returned a value that cannot be read here, such as one of a class that only the node has.

    Example:
        try:
            hpc.call(unreadable, profile="small")
        except ValueUnreadable as error:
            print(error.message)
    """


@dataclass(frozen=True)
class _Told:
    """What the worker says of an exception. `type` is empty for what the worker itself found wrong."""

    rank: int
    type: str
    words: str
    traceback: str
    exception: str | None

    def raised(self) -> Exception | None:
        if self.exception is None:
            return None
        try:
            error = pickle.loads(base64.b64decode(self.exception))
        except Exception:  # noqa: BLE001  # its class is not here, or wants other arguments: the traceback tells of it
            return None
        return error if isinstance(error, Exception) else None


def left_by(*, value: Any = None, error: Exception | None = None) -> dict[str, bytes]:
    """The files that a call leaves which returns this value or raises this error, for a test that plays it."""
    if error is None:
        return {VALUE_PATH: worker.pickled(value)}
    name = f"{worker.FOLDER}/{worker.FAILURE}0{worker.FAILURE_END}"
    return {name: json.dumps({"rank": 0, **worker.told(error)}).encode()}


def value_of(result: JobResult) -> Any:
    """The value of a call that has ended well."""
    return _read(result, result.outputs[OUTPUT])


def metadata_of(result: JobResult) -> dict[str, Any]:
    """What the function has added to the metadata of its asset."""
    path = Path(result.outputs[OUTPUT]).with_name(worker.METADATA)
    return dict(_read(result, str(path))) if path.exists() else {}


def error_of(result: JobResult, conceal: Callable[[str], str]) -> JobFailed:
    """Why a call has not ended well: what it raised, without secrets; else what became of its job."""
    if result.state is not JobState.FAILED:
        return failure_of(result)
    folder = Path(result.handle.work_dir, worker.FOLDER)
    told = _told(folder)
    until = time.monotonic() + _LATE_S
    while told is None and result.exit_code == 1 and time.monotonic() < until:
        time.sleep(_LOOK_AGAIN_S)
        told = _told(folder)
    if told is None:
        return failure_of(result)
    return CallFailed(result, worker.unpickled(str(folder / worker.CALL))["called"], told, conceal)


def _told(folder: Path) -> _Told | None:
    """What the ranks have told: that of the first which raised, for others may have failed because it did."""
    try:
        files = sorted(folder.glob(f"{worker.FAILURE}*{worker.FAILURE_END}"), key=lambda file: file.stat().st_mtime_ns)
        return _Told(**json.loads(files[0].read_bytes())) if files else None
    except OSError:
        return None


def _read(result: JobResult, path: str) -> Any:
    try:
        return worker.unpickled(path)
    except OSError as error:
        raise SchedulerUnavailable(
            f"what {result.handle} returned cannot be read now: {error}",
            advice="the job has ended well and is not lost: run the same again when the file system answers.",
            work_dir=result.handle.work_dir,
        ) from error
    except Exception as error:
        raise ValueUnreadable(
            f"what {result.handle} returned cannot be read here: {type(error).__name__}: {error}",
            advice="return plain values, or install here what they are made of; the job need not run again.",
            work_dir=result.handle.work_dir,
        ) from error
