"""Which held jobs may go on, and which never can. Judged in the very transaction that ends what they wait for."""

import sqlite3
import time
from collections.abc import Iterable

from dagster_hpc.local_batch.spool import LIVE

_HOPE = {"ok": "to end well", "any": "to end", "notok": "to fail"}
_END = {
    "COMPLETED": "ended well",
    "FAILED": "failed",
    "CANCELLED": "was cancelled",
    "TIMEOUT": "ran into its walltime",
    "OOM": "ran out of memory",
    "NODE_FAIL": "was lost with its machine",
}


def settle(sql: sqlite3.Connection, ended: Iterable[int]) -> None:
    """After an end in these submissions: release, or cancel, all that waited for them, and so on down the chain."""
    changed = set(ended)
    while changed:
        marks = ",".join("?" * len(changed))
        waiting = sql.execute(f"SELECT DISTINCT submission FROM waits WHERE target IN ({marks})", sorted(changed))
        changed = {row["submission"] for row in waiting.fetchall() if judge(sql, row["submission"])}


def judge(sql: sqlite3.Connection, submission: int) -> bool:
    """Release or cancel one held submission if its time has come; True if it was cancelled."""
    waits = sql.execute("SELECT * FROM waits WHERE submission = ?", (submission,)).fetchall()
    verdicts = [_verdict(sql, wait) for wait in waits]
    fate = next((reason for met, reason in verdicts if met is False), None)
    if fate is not None:
        cancelled = sql.execute(
            "UPDATE jobs SET state = 'CANCELLED', reason = ?, ended_at = ? WHERE submission = ? AND state = 'HELD'",
            (f"{fate}, so this one can never start", time.time(), submission),
        )
        forget_finished(sql, submission)
        return cancelled.rowcount > 0
    if all(met for met, _ in verdicts):
        sql.execute("UPDATE jobs SET state = 'PENDING' WHERE submission = ? AND state = 'HELD'", (submission,))
    return False


def hopes(sql: sqlite3.Connection, submission: int) -> str:
    """What a held job waits for, in words."""
    waits = sql.execute("SELECT * FROM waits WHERE submission = ?", (submission,)).fetchall()
    open_ends = (reason for met, reason in (_verdict(sql, wait) for wait in waits) if met is None)
    return "waits for " + " and ".join(open_ends)


def forget_finished(sql: sqlite3.Connection, submission: int) -> None:
    """A finished submission needs its script and environment no more: they may be large, and hold secrets."""
    sql.execute(
        "UPDATE submissions SET script = NULL, environment = NULL WHERE id = ? AND NOT EXISTS "
        f"(SELECT 1 FROM jobs WHERE submission = submissions.id AND state IN {LIVE})",
        (submission,),
    )


def _verdict(sql: sqlite3.Connection, wait: sqlite3.Row) -> tuple[bool | None, str]:
    """Met (True), never to be met (False) or still open (None), and why."""
    kind, target, element = wait["kind"], wait["target"], wait["element"]
    name = str(target) if element is None else f"{target}_{element}"
    where, values = (
        ("submission = ?", [target]) if element is None else ("submission = ? AND element = ?", [target, element])
    )
    live, good = sql.execute(
        f"SELECT total(state IN {LIVE}), total(state = 'COMPLETED') = count(*) FROM jobs WHERE {where}", values
    ).fetchone()
    bad = sql.execute(
        "SELECT j.element, j.state, s.is_array FROM jobs j JOIN submissions s ON s.id = j.submission "
        f"WHERE {where} AND state NOT IN {(*LIVE, 'COMPLETED')} ORDER BY seq LIMIT 1",
        values,
    ).fetchone()
    if kind == "ok" and bad is not None:
        which = f"{target}_{bad['element']}" if bad["is_array"] else str(target)
        return False, f"job {which} {_END[bad['state']]}"
    if live:
        return None, f"job {name} {_HOPE[kind]}"
    if kind == "notok" and good:
        return False, f"job {name} {_END['COMPLETED']}"
    return True, ""
