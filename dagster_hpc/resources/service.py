"""A job that serves while a step works with it: a Dask or Ray cluster, a database, a model behind a port."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from typing_extensions import Unpack

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobHandle, WaitTimeout
from dagster_hpc.resources.command import Command
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.request import RequestOptions
from dagster_hpc.resources.step import Context, as_dagster_failure, op_of, step_of

_LOOK_AGAIN_S = 1.0
_ENDED_S = 3.0  # within which the end of a job is seen that has just failed those who use it


@contextmanager
def hpc_service(
    hpc: HPCJobRunner,
    command: Command,
    *,
    ready: str,
    context: Context | None = None,
    timeout: float | None = None,
    **options: Unpack[RequestOptions],
) -> Iterator[Path]:
    """Run a command that serves as a job for as long as the `with` lasts; then the job is given back, whatever happened.

    `ready`: the file in the job's directory by which the command says that it serves, and where. Its path is what the
    `with` is about. `timeout` (seconds) ends the wait for it. A retry of the step goes on with the job that is there. See
    `JobRequest` for the other options.

    Example:
        def counted(context: dg.AssetExecutionContext, hpc: HPCJobRunner) -> str:
            serve = Command("database", args=["--write-address-to", "address"])
            with hpc_service(hpc, serve, profile="small", ready="address", context=context) as file:
                return f"the database at {file.read_text()} has been asked"
    """
    options.setdefault("key", _key_of(context))
    handle = hpc.submit(command, context=context, **options)
    try:
        with as_dagster_failure(context):
            yield _wait_for(Path(handle.work_dir, ready), hpc, handle, timeout)
    except Exception:
        with suppress(WaitTimeout), as_dagster_failure(context):
            hpc.wait(handle, timeout=_ENDED_S)  # a job that has ended is the reason, and raises it
        raise
    finally:
        hpc.cancel(handle)


def _key_of(context: Context | None) -> str | None:
    """All attempts of a run mean one job, re-executions of the run too; two runs at once have each their own."""
    step = step_of(context)
    if context is None or step is None:
        return None
    run = op_of(context).run
    return f"service of {run.root_run_id or run.run_id} {step.step_key}"


def _wait_for(file: Path, hpc: HPCJobRunner, handle: JobHandle, timeout: float | None) -> Path:
    began = time.monotonic()
    while not file.exists():
        try:
            hpc.wait(handle, timeout=_LOOK_AGAIN_S)
        except WaitTimeout as error:
            waited_s = time.monotonic() - began
            if timeout is not None and waited_s >= timeout:
                raise WaitTimeout(handle, error.state, timeout) from error
        else:
            raise ConfigurationError(
                f"{handle} ended well before it left the file {file.name}, by which it says that it serves",
                advice="let the command write this file, and then run until it is told to end.",
                work_dir=handle.work_dir,
            )
    return file
