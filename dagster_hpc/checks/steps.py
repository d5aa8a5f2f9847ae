"""What `dagster-hpc doctor` asks of the queue of steps of an allocation; the system inside it is asked as any other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dagster_hpc.checks.base import Demand, Finding, Probe
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.schedulers.steps.requests import Steps

# A link is how a step is taken; the spool is made where it is not there yet, as a submission would.
_LINKS = 'mkdir -p "$1" && cd "$1" && : >probe.$$ && ln probe.$$ probe.$$.again && rm -f probe.$$ probe.$$.again'


def probes(steps: Steps, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    return [
        Probe("steps folder", Call(("sh", "-c", _LINKS, "sh", steps.spool)), partial(_takes_links, steps)),
        Probe("steps queue", steps.queue(["none"]), partial(_answers, steps)),
    ]


def _takes_links(steps: Steps, answer: Answer) -> Finding:
    if answer.code != 0:
        advice = "set `folder` of the Allocation to one on a file system that nodes share and that knows hard links."
        return Finding("fail", f"no hard link can be made in {steps.spool}: {answer.words}", advice)
    return Finding("ok", f"{steps.spool} takes hard links, by which each step is started once")


def _answers(steps: Steps, answer: Answer) -> Finding:
    report = steps.read_queue(answer)
    if report.failed:
        advice = "see whether that folder can be read; steps that run are not harmed by this."
        return Finding("fail", f"the queue of steps does not answer: {report.failed}", advice)
    return Finding("ok", "the queue of steps answers")
