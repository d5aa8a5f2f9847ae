"""What `dagster-hpc doctor` asks of Miyabi's commands. Each function turns one answer into one finding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dagster_hpc.checks.base import Demand, Finding, Probe
from dagster_hpc.checks.mpi import mpi_probes
from dagster_hpc.checks.pbs import version
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.schedulers.miyabi.replies import table
from dagster_hpc.engine.schedulers.miyabi.requests import Miyabi

_REPORT = "tell us what it prints; until then a job's own files say how it ended."


def probes(miyabi: Miyabi, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    history = Call(("qstat", "-ll", "-H", *miyabi.window.split()))
    return [
        Probe("qsub", Call(("qsub", "--version")), version),
        Probe("qstat", miyabi.queue([]), _queue),
        Probe("job history", history, _history, "warn"),
        *(
            Probe(
                "limits", miyabi.room(user, demand.queue, demand.project)[0], partial(_limits, miyabi, demand), "warn"
            )
            for demand in demands
        ),
        *mpi_probes("pbs", demands),
    ]


def _queue(answer: Answer) -> Finding:
    if answer.code != 0:
        advice = "on a stock PBS use PBSTarget; else run this on a login node of Miyabi."
        return Finding("fail", f"this is not Miyabi's qstat: {answer.words.splitlines()[0]}", advice)
    found = table(answer.stdout)
    if found is None:
        return Finding("fail", f"qstat's answer is not understood: {answer.stdout.strip()[:200]!r}", _REPORT)
    if not found.whole:
        return Finding(
            "warn", "qstat's table has lines that are not understood: jobs are asked for one by one", _REPORT
        )
    return Finding("ok", f"it is Miyabi's; {len(found.rows)} of your jobs are in the queue")


def _history(answer: Answer) -> Finding:
    if answer.code != 0 or table(answer.stdout) is None:
        return Finding("warn", f"the history cannot be looked through: {answer.words.splitlines()[0]}", _REPORT)
    return Finding("ok", "jobs that are over can be asked for, for 31 days")


def _limits(miyabi: Miyabi, demand: Demand, answer: Answer) -> Finding:
    where = f"{demand.project or 'no project'} in {demand.queue or 'the default queue'}"
    room = miyabi.read_room([answer]).jobs
    if room is None:
        advice = "set max_jobs of the target; a job for which there is no room waits in any case."
        return Finding("warn", f"how many jobs {where} may have is not understood from `qstat --limit`", advice)
    return Finding("ok", f"{where}: room for {room} more jobs, each element of an array counting as one")
