"""What `query` prints: each job as plain values, with a sentence that says why it is where it is."""

from collections.abc import Iterable
from typing import Any

from dagster_hpc.local_batch import dependencies, job
from dagster_hpc.local_batch.directives import parse_job_id
from dagster_hpc.local_batch.job import Job
from dagster_hpc.local_batch.plan import turns
from dagster_hpc.local_batch.spool import Spool


def report(spool: Spool, names: Iterable[str], ids: Iterable[str]) -> list[dict[str, Any]]:
    """The jobs with these names or ids, in the order of submission; without any, those that are not finished."""
    names, ids = list(names), list(ids)
    with spool.snapshot() as sql:
        found: dict[int, Job] = {}
        for name in names:
            found.update((each.seq, each) for each in job.with_name(sql, name))
        for text in ids:
            if (wanted := parse_job_id(text)) is not None:
                found.update((each.seq, each) for each in job.with_id(sql, *wanted))
        if not names and not ids:
            found.update((each.seq, each) for each in job.live(sql))
        chosen = [found[seq] for seq in sorted(found)]
        reasons = _waiting_reasons(spool, chosen)
    return [_element(each, reasons.get(each.seq, each.reason)) for each in chosen]


def _waiting_reasons(spool: Spool, jobs: list[Job]) -> dict[int, str]:
    """Worked out when asked, for a stored reason would be stale as soon as any other job moves."""
    reasons: dict[int, str] = {}
    held: dict[int, str] = {}
    for each in jobs:
        if each.state == "HELD":
            if each.submission not in held:
                held[each.submission] = dependencies.hopes(spool.sql, each.submission)
            reasons[each.seq] = held[each.submission]
    if any(each.state == "PENDING" for each in jobs):
        running, pending = job.in_state(spool.sql, "RUNNING"), job.in_state(spool.sql, "PENDING")
        reasons.update((turn.job.seq, turn.reason) for turn in turns(pending, running, spool.capacity()))
    return reasons


def _element(each: Job, reason: str | None) -> dict[str, Any]:
    return {
        "id": each.id,
        "array_id": str(each.submission),
        "index": each.element if each.is_array else None,
        "name": each.name,
        "state": each.state,
        "reason": reason,
        "exit_code": each.exit_code,
        "signal": each.signal,
        "submitted_at": each.submitted_at,
        "started_at": each.started_at,
        "ended_at": each.ended_at,
        "cpu_user_s": each.cpu_user_s,
        "cpu_system_s": each.cpu_system_s,
        "max_rss_mib": each.max_rss_mib,
        "cores": each.granted_cores or each.cores,
        "memory_mib": each.memory_mib,
        "gpus": each.gpus,
        "time_s": each.time_s,
        "host": each.host,
        "pid": each.pid,
    }
