"""Whether the ledger can be written."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from dagster_hpc.checks.base import Finding
from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.ledger import Ledger


def ledger(url: str | None) -> Finding:
    advice = "set DAGSTER_HPC_LEDGER to a file on a local disk or a PostgreSQL URL."
    try:
        opened = Ledger(url)
        try:
            opened.try_writing()
            live = len(opened.jobs(live=True))
            return Finding("ok", f"{opened.public_url} can be written; {live} jobs in it are live")
        finally:
            opened.close()
    except HPCError as error:
        return Finding("fail", error.message, error.advice)
    except (SQLAlchemyError, ImportError) as error:
        words = str(getattr(error, "orig", None) or error)
        return Finding("fail", f"the ledger cannot be used: {words}", advice)
