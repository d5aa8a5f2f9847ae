"""Whether the ledger can be written."""

from __future__ import annotations

import warnings
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from dagster_hpc.checks.base import Finding
from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.filesystem import network_filesystem
from dagster_hpc.engine.ledger import Ledger

_SHARED = "set DAGSTER_HPC_LEDGER to one PostgreSQL URL on all hosts, or, for one host, to a file on its local disk."


def ledger(url: str | None) -> Finding:
    advice = "set DAGSTER_HPC_LEDGER to a file on a local disk or a PostgreSQL URL."
    try:
        with warnings.catch_warnings():  # that it is one host's now is said below
            warnings.simplefilter("ignore", UserWarning)
            opened = Ledger(url)
        try:
            opened.try_writing()
            live = len(opened.jobs(live=True))
            said = f"{opened.public_url} can be written; {live} jobs in it are live"
            if kind := _network(opened.url):
                return Finding("warn", f"{said}; it lies on {kind}, where it is this host's alone", _SHARED)
            return Finding("ok", said)
        finally:
            opened.close()
    except HPCError as error:
        return Finding("fail", error.message, error.advice)
    except (SQLAlchemyError, ImportError) as error:
        words = str(getattr(error, "orig", None) or error)
        return Finding("fail", f"the ledger cannot be used: {words}", advice)


def _network(url: str) -> str | None:
    """The kind of network file system that a ledger in a file lies on."""
    parsed = sa.make_url(url)
    in_file = parsed.get_backend_name() == "sqlite" and parsed.database
    return network_filesystem(Path(parsed.database or "")) if in_file else None
