"""What `dagster-hpc doctor` asks of the embedded batch system. Each function turns one answer into one finding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dagster_hpc.checks.base import Demand, Finding, Probe
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.schedulers.local.requests import Local

# The folder, or the nearest one above it in which it can still be made.
_WRITABLE = 'd=$1; while [ ! -e "$d" ]; do d=$(dirname "$d"); done; [ -d "$d" ] && [ -w "$d" ]'


def probes(local: Local, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    writable = Call(("sh", "-c", _WRITABLE, "sh", local.spool))
    return [
        Probe("local scheduler", local.ask("query"), partial(_answers, local)),
        Probe("local spool", writable, partial(_takes_jobs, local)),
    ]


def _answers(local: Local, answer: Answer) -> Finding:
    report = local.read_queue(answer)
    if report.failed:
        advice = f"see daemon.log in {local.spool}; jobs that run are not harmed by this."
        return Finding("fail", f"the embedded scheduler does not answer: {report.failed}", advice)
    return Finding("ok", f"the embedded scheduler answers; {len(report.jobs)} of its jobs are not over")


def _takes_jobs(local: Local, answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding("fail", f"{local.spool} cannot be written", "set `spool` of the target to a folder of yours.")
    return Finding("ok", f"{local.spool} can be written")
