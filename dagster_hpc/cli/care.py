"""What takes care of a ledger: rebuilding a lost one from the jobs' directories, and forgetting what is old."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.ledger.rows import decode_rows
from dagster_hpc.engine.process import NOBODY
from dagster_hpc.engine.units import parse_walltime


def adopted(work_root: str) -> tuple[list[JobRow], list[tuple[str, str]]]:
    """The rows that the directories below this one hold, newest first; and the files that cannot be used, with why.

    Each is an open submission that nobody is at: whoever polls next looks the job up before anything else, and a lock
    tells the id of one that has begun. The newest of one identity holds it.
    """
    found: list[JobRow] = []
    unreadable: list[tuple[str, str]] = []
    for folder, folders, _ in os.walk(work_root):
        path = Path(jobdir.protocol_path(folder, jobdir.ROW))
        if not path.is_file():
            continue
        folders.clear()  # an array's elements are in the file of their batch
        try:
            rows = decode_rows(path.read_bytes())
        except (OSError, ValueError) as error:
            unreadable.append((str(path), str(error)))
            continue
        found += [_as_found(row, folder) for row in rows]
    return sorted(found, key=lambda row: row.created_at, reverse=True), unreadable


def prunable(ledger: Ledger, older_than: str, state: JobState | None, *, keep_failed: bool) -> list[JobRow]:
    """The jobs that are over for so long, and that nobody waits for any more."""
    try:
        age_s = parse_walltime(older_than)
    except ValueError as error:
        raise ConfigurationError(f"--older-than: {error}") from error
    limit = time.time() - age_s
    rows = ledger.jobs(live=False, state=state)
    return [
        row
        for row in rows
        if row.updated_at < limit and row.held_identity is None and not (keep_failed and not row.state.is_success)
    ]


def _as_found(row: JobRow, folder: str) -> JobRow:
    """An open submission: one command at least may have reached the scheduler."""
    place = folder if row.array_index is None else jobdir.element_directory(folder, row.array_index)
    return replace(
        row,
        work_dir=place,
        state=JobState.SUBMITTING,
        owner=NOBODY,
        attempts=max(1, row.attempts),
        held_identity=row.identity,
        job_id=None,
        script_sha256="",  # no script is known to be whole: it is only looked up, and never submitted by this
    )
