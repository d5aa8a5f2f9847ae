"""Whether a target waits long enough for what may only be late, and asks its scheduler no more than it should."""

from __future__ import annotations

from dagster_hpc.checks.base import Finding
from dagster_hpc.engine.target import Target

# What is known to happen on real systems; a target that waits less takes it for the end.
_FILES_S = 30.0  # attribute caches of NFS clients
_SCHEDULER_S = 300.0  # a controller is restarted, or its standby takes over
_RESTS_S = 900.0  # reasons such as InvalidAccount pass while the accounting is synchronised
_MOST_COMMANDS = 16
_BUSY_S = 2.0


def patience(target: Target, *, is_local: bool) -> Finding:
    """The fields of the target that say how long it waits, and how much it asks at once."""
    waits = target.patience
    faults: list[str] = []
    if not is_local:
        if waits.file_delay_s < _FILES_S:
            faults.append(f"file_delay={waits.file_delay_s:g}: on NFS a job that ended well is called failed")
        for name, value in (("lost_after", waits.lost_after_s), ("scheduler_patience", waits.unavailable_s)):
            if value < _SCHEDULER_S:
                faults.append(f"{name}={value:g}: a restart of the scheduler takes longer")
        if waits.stuck_after_s is not None and waits.stuck_after_s < _RESTS_S:
            faults.append(f"cancel_stuck_after={waits.stuck_after_s:g}: such a reason may pass by itself")
        if target.poll_interval_s < _BUSY_S:
            faults.append(f"poll_interval={target.poll_interval_s:g}: sites ask for fewer questions")
    if target.parallel_submissions > _MOST_COMMANDS:
        faults.append(f"parallel_submissions={target.parallel_submissions}: so many submit commands load a login node")
    if faults:
        return Finding("warn", "; ".join(faults), "leave these fields at their defaults unless you know this site.")
    room = "" if target.max_jobs is None else f"; at most {target.max_jobs} live jobs, further ones wait in the ledger"
    return Finding(
        "ok",
        f"files may be {waits.file_delay_s:g} s late, the scheduler silent for {waits.unavailable_s:g} s; a job "
        f"without any trace is lost after {waits.lost_after_s:g} s{room}",
    )
