"""What `dagster-hpc doctor` asks of LSF. Each function turns one answer into one finding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from dagster_hpc.checks.base import Demand, Finding, Probe
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.schedulers.lsf.requests import LSF


def probes(lsf: LSF, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    queues = dict.fromkeys(demand.queue for demand in demands if demand.queue)
    return [
        Probe("bsub", Call(("bsub", "-V")), _version),
        Probe("lsid", Call(("lsid",)), _cluster),
        Probe("bjobs", Call(("bjobs", "-noheader")), _jobs),
        *(Probe("queue", Call(("bqueues", "-w", name)), partial(_queue, name), "warn") for name in queues),
    ]


def _jobs(answer: Answer) -> Finding:
    said = f"{answer.stdout}\n{answer.stderr}"
    if answer.code == 0 or re.search(r"no (unfinished|matching) job found", said, re.I):
        number = sum(line[:1].isdigit() for line in answer.stdout.splitlines())
        return Finding("ok", f"the batch daemon answers; {number} of your jobs are in the queue")
    return Finding("fail", f"the batch daemon does not answer: {answer.words}", "ask your site whether mbatchd runs.")


def _version(answer: Answer) -> Finding:
    said = f"{answer.stdout}\n{answer.stderr}"
    found = re.search(r"LSF[^\n]*?(\d+)\.(\d+)[.\d]*", said)
    if not found:
        return Finding("fail", f"`bsub -V` does not work: {answer.words}", "load LSF's environment (profile.lsf).")
    if (int(found[1]), int(found[2])) < (9, 1):
        return Finding("warn", f"{found[0]} is older than 9.1: its bjobs has no -o", "ask for an update.")
    return Finding("ok", found[0])


def _cluster(answer: Answer) -> Finding:
    name = re.search(r"My cluster name is (\S+)", answer.stdout)
    if answer.code != 0 or not name:
        return Finding("fail", f"LSF does not answer: {answer.words}", "load LSF's environment; `badmin showstatus`.")
    return Finding("ok", f"cluster {name[1]} answers")


def _queue(name: str, answer: Answer) -> Finding:
    row = next((line.split() for line in answer.stdout.splitlines() if line.split()[:1] == [name]), None)
    if row is None:
        return Finding("fail", f"there is no queue {name!r}: {answer.words}", "correct queue_cpu / queue_gpu.")
    status = next((cell for cell in row if ":" in cell), "")
    if status != "Open:Active":
        return Finding("warn", f"queue {name} is {status or 'in an unknown state'}", "wait, or ask your site.")
    return Finding("ok", f"queue {name} is open")
