"""Those partitions of a run that have failed, and why, as one failure of their step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from dagster_hpc.dagster_values import table
from dagster_hpc.engine.errors import ConfigurationError, SubmitRefused
from dagster_hpc.engine.job import JobFailed, JobResult
from dagster_hpc.metadata import array_metadata

_COLUMNS = {"partition": "string", "state": "string", "exit_code": "int", "job_id": "string", "reason": "string",
            "work_dir": "string"}  # fmt: skip
_ROWS = 1000
_NAMED = 10
_LONGEST_REASON = 300


class Failures:
    """Which partitions have failed, with the error of each."""

    def __init__(self) -> None:
        self._errors: dict[str, Exception] = {}

    def __bool__(self) -> bool:
        return bool(self._errors)

    @contextmanager
    def of(self, partition_key: str) -> Iterator[None]:
        """What fails inside is the failure of this partition alone. The step tells it when all are over."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # the user's function, `collect` and IO managers may raise anything
            self._errors[partition_key] = error

    def as_failure(self, results: Sequence[JobResult], partition_keys: Sequence[str]) -> dg.Failure:
        """All of them as the one failure that Dagster shows. `partition_keys`: of the run, in their order."""
        errors = {key: self._errors[key] for key in map(str, partition_keys) if key in self._errors}
        names, partitions = [repr(key) for key in errors], len(partition_keys)
        some = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        first = next(iter(errors.values()))
        rows = [_row(key, error) for key, error in list(errors.items())[:_ROWS]]
        failure = dg.Failure(
            f"{len(names)} of {partitions} partitions failed: {some}. The others are there; a retry, a re-execution from "
            f"failure or a backfill of these runs these alone.\nThe first of them, {names[0]}: {_words(first)}",
            metadata={
                "partitions_failed": table(rows, _COLUMNS),
                "partitions": dg.MetadataValue.json({"failed": len(names), "there": partitions - len(names)}),
                **(array_metadata(list(results)) if results else {}),
            },
            allow_retries=any(_is_worth_a_retry(error) for error in errors.values()),
        )
        failure.__cause__ = first
        return failure


def _row(key: str, error: Exception) -> dict[str, Any]:
    result = error.result if isinstance(error, JobFailed) else None
    reason = result.reason if result and result.reason else _words(error).partition("\n")[0]
    return {
        "partition": key,
        "state": str(result.state) if result else "",
        "exit_code": result.exit_code if result else None,
        "job_id": (result.handle.job_id or "") if result else "",
        "reason": reason[:_LONGEST_REASON],
        "work_dir": result.handle.work_dir if result else "",
    }


def _words(error: Exception) -> str:
    if isinstance(error, dg.Failure):
        return error.description or "dagster.Failure"
    return str(error) if isinstance(error, JobFailed) else f"{type(error).__name__}: {error}"


def _is_worth_a_retry(error: Exception) -> bool:
    if isinstance(error, dg.Failure):
        return error.allow_retries
    return not isinstance(error, ConfigurationError | SubmitRefused)
