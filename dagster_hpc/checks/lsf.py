"""What `dagster-hpc doctor` asks of LSF. Each function turns one answer into one finding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from dagster_hpc.checks.base import Ask, Demand, Finding, Probe, Queue, Survey
from dagster_hpc.checks.mpi import mpi_probes
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.schedulers.lsf.requests import LSF
from dagster_hpc.engine.units import format_walltime

_SOON_S = 600  # a job that is over is asked for within minutes, while somebody waits for it


def probes(lsf: LSF, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    queues = dict.fromkeys(demand.queue for demand in demands if demand.queue)
    return [
        Probe("bsub", Call(("bsub", "-V")), _version),
        Probe("lsid", Call(("lsid",)), _cluster),
        Probe("bjobs", lsf.queue(()), partial(_jobs, lsf)),
        Probe("limits", Call(("bparams", "-a")), _limits, "warn"),
        *(Probe("queue", Call(("bqueues", "-w", name)), partial(_queue, name), "warn") for name in queues),
        *(
            Probe("queue limit", Call(("bqueues", "-l", demand.queue)), partial(_run_limit, demand), "warn")
            for demand in demands
            if demand.queue and demand.specs
        ),
        *mpi_probes("lsf", demands),
    ]


def survey(lsf: LSF, user: str, ask: Ask) -> Survey | None:
    """The queues with their limits of time."""
    answer = ask(Call(("bqueues", "-l")))
    if answer is None or answer.code != 0:
        return None
    parts = re.split(r"^QUEUE: (\S+)\s*$", answer.stdout, flags=re.MULTILINE)
    queues = [
        Queue(name, is_default="default queue" in text, walltime_s=None if (most := _limit_of(text)) is None else int(most))
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    ]
    return Survey(queues)


def _jobs(lsf: LSF, answer: Answer) -> Finding:
    said = f"{answer.stdout}\n{answer.stderr}"
    report = lsf.read_queue(answer)
    if report.instead or report.jobs or re.search(r"no (unfinished |matching )?job found", said, re.I):
        words = "; it is too old for JSON, and asked for lines" if report.instead else ""
        return Finding("ok", f"the batch daemon answers; {len(report.jobs)} of your jobs are known to it{words}")
    return Finding("fail", f"the batch daemon does not answer: {answer.words}", "ask your site whether mbatchd runs.")


def _limits(answer: Answer) -> Finding:
    """How many elements an array may have, and how long bjobs shows a job that is over."""
    names = ("MAX_JOB_ARRAY_SIZE", "CLEAN_PERIOD")
    found = {name: re.search(rf"\b{name}\s*=\s*(\d{{1,9}})\b", answer.stdout, re.ASCII) for name in names}
    elements, shown = (int(match[1]) if match and answer.code == 0 else None for match in found.values())
    if elements is None and shown is None:
        return Finding("warn", f"the limits of the cluster cannot be read: {answer.words[:500]}", "ask your site.")
    words = [f"arrays of up to {elements} elements"] if elements is not None else []
    words += [f"bjobs shows jobs for {format_walltime(shown)} after their end"] if shown is not None else []
    if shown is not None and shown < _SOON_S:
        advice = "let a process of yours wait for its jobs: what nobody asks for in that time, its own files tell."
        return Finding("warn", "; ".join(words), advice)
    return Finding("ok", "; ".join(words))


def _run_limit(demand: Demand, answer: Answer) -> Finding:
    limit_s = _limit_of(answer.stdout) if answer.code == 0 else None
    if limit_s is None:
        return Finding("ok", f"{demand.queue}: no limit of time is told")
    if asked := demand.longer_than(limit_s):
        advice = "shorten the walltime, or send these profiles to another queue."
        return Finding("fail", f"queue {demand.queue} allows {format_walltime(int(limit_s))}, but {asked}", advice)
    return Finding("ok", f"{demand.queue}: time limit {format_walltime(int(limit_s))}")


def _limit_of(text: str) -> float | None:
    """Seconds: `RUNLIMIT` with a line of minutes below it, after `MAXIMUM LIMITS:`."""
    below = re.search(r"^MAXIMUM LIMITS:.*?^\s*RUNLIMIT\s*\n\s*([\d.]{1,12}) min", text, re.M | re.S | re.ASCII)
    try:
        return float(below[1]) * 60 if below else None
    except ValueError:
        return None


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
