"""Whether the compute nodes can execute steps of Dagster: its storage, its folder, the code and the interpreter."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster._core.errors import DagsterHomeNotSetError
from dagster._core.storage.runs.sqlite import SqliteRunStorage

from dagster_hpc.checks.base import Check, Finding
from dagster_hpc.checks.files import executable, shared_folder

_ONLY_HERE = ("localhost", "127.0.0.1", "::1", "")
_POSTGRES = "configure `storage: postgres:` in dagster.yaml, with a host name that the compute nodes know."
_HOME = "set DAGSTER_HOME to a folder with a dagster.yaml, which the compute nodes see under the same path."
_CODE = "keep the code location, and start Dagster, in a folder that the compute nodes see under the same path."
_PYTHON = "make the environment in a folder that the compute nodes see, or give hpc_executor their `python`."


def step_checks(python: str | None, *, is_local: bool) -> Iterator[Check]:
    """What `hpc_executor` needs beside its runner. `python`: the interpreter there; None: the one that runs this."""
    try:
        with dg.DagsterInstance.get() as instance:
            yield Check("instance storage", _storage(instance, is_local=is_local))
    except DagsterHomeNotSetError:
        yield Check("instance storage", Finding("fail", "DAGSTER_HOME is not set: a step would not find its run", _HOME))
        return
    except (dg.DagsterError, sa.exc.SQLAlchemyError, ImportError, OSError) as error:
        yield Check("instance storage", Finding("fail", f"the instance cannot be opened: {error}", _POSTGRES))
    if python is not None:
        yield Check("step python", executable(python, is_local=is_local))
    if is_local:
        return
    yield Check("instance folder", shared_folder(Path(os.environ["DAGSTER_HOME"]), _HOME))
    yield Check("code folder", shared_folder(Path.cwd(), _CODE))
    if python is None:
        yield Check("step python", shared_folder(Path(sys.prefix), _PYTHON))


def _storage(instance: dg.DagsterInstance, *, is_local: bool) -> Finding:
    storage = instance.run_storage
    if isinstance(storage, SqliteRunStorage):
        what = "the instance is stored in SQLite"
        if is_local:
            return Finding("ok", f"{what}, on the machine where the jobs run")
        return Finding("fail", f"{what}, which jobs on other machines cannot write safely", _POSTGRES)
    url = getattr(storage, "postgres_url", None) or getattr(storage, "mysql_url", None)
    host = sa.make_url(url).host or "" if url else None
    what = f"the instance is stored by {type(storage).__name__}"
    if host in _ONLY_HERE and not is_local:
        return Finding("warn", f"{what} on {host or 'this machine'}, which is another machine on a compute node", _POSTGRES)
    return Finding("ok", f"{what} on {host}" if host else what)
