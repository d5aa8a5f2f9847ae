"""What `dagster-hpc doctor` asks of Grid Engine. Each function turns one answer into one finding."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from xml.etree import ElementTree

from dagster_hpc.checks.base import Demand, Finding, Probe
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.engine.schedulers.sge.requests import SGE
from dagster_hpc.engine.schedulers.sge.words import seconds
from dagster_hpc.engine.units import format_walltime

_UNREACHED = "check SGE_ROOT and SGE_CELL, and with your site whether sge_qmaster runs and this is a submit host."


def probes(sge: SGE, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    environments = [name for name in (sge.parallel_environment, sge.multi_node_environment) if name]
    fixed = [name for name in environments if "{cores}" not in name]
    resources = [*sge.memory_resource.split(","), sge.gpu_resource, sge.exclusive_resource]
    required = [name.strip() for name in resources if name.strip()]
    named = [demand for demand in demands if demand.queue]
    return [
        Probe("qsub", Call(("qsub", "-help")), _version),
        Probe("qdel", Call(("qdel", "-help")), _version),
        Probe("qstat", sge.queue(()), _queue),
        Probe("qacct", sge.history(()), _accounting, "warn"),
        *(Probe("queue", Call(("qconf", "-sq", one.queue)), partial(_limits, one), "warn") for one in named),
        *(
            Probe("parallel environment", Call(("qconf", "-sp", name)), partial(_environment, name), "warn")
            for name in dict.fromkeys(fixed)
        ),
        *(
            Probe("resource", Call(("qconf", "-sc")), partial(_resource, name), "warn")
            for name in dict.fromkeys(required)
        ),
    ]


def _version(answer: Answer) -> Finding:
    """The first line of the help text is the version: `SGE 8.1.9`."""
    first = next(iter(answer.stdout.strip().splitlines()), "")
    if answer.code not in (0, 1) or not re.search(r"\d+\.\d", first):
        return Finding("fail", f"`{answer.argv[0]} -help` does not work: {answer.words}", _UNREACHED)
    return Finding("ok", first)


def _queue(answer: Answer) -> Finding:
    try:
        root = ElementTree.fromstring(answer.stdout) if answer.code == 0 else None
    except ElementTree.ParseError:
        root = None
    if root is None or root.tag != "job_info":
        return Finding("fail", f"the master does not answer: {answer.words}", _UNREACHED)
    jobs = {row.findtext("JB_job_number") for row in root.iter("job_list")}
    return Finding("ok", f"the master answers; {len(jobs)} of your jobs are in the queue")


def _accounting(answer: Answer) -> Finding:
    if answer.code == 0:
        return Finding("ok", "the accounting can be read")
    return Finding(
        "warn",
        f"the accounting cannot be read here ({answer.words}): CPU time and memory of jobs stay unknown, and why the "
        "system ended a job, too",
        "ask your site for read access to $SGE_ROOT/$SGE_CELL/common/accounting; without it, set accounting_delay of "
        "the target to 0. In a new cell the file appears with the end of the first job.",
    )


def _limits(demand: Demand, answer: Answer) -> Finding:
    if answer.code != 0:
        advice = "correct queue_cpu / queue_gpu of the target; `qconf -sql` lists the queues."
        return Finding("fail", f"there is no queue {demand.queue!r}: {answer.words}", advice)
    settings = {key: value.strip() for key, _, value in (line.partition(" ") for line in answer.stdout.splitlines())}
    limit = settings.get("h_rt", "INFINITY").split(",")[0]  # what follows is for single hosts
    limit_s = seconds(limit)
    too_long = {who: time_s for who, time_s in demand.walltimes_s.items() if limit_s is not None and time_s > limit_s}
    if too_long:
        asked = ", ".join(f"profile {who!r} asks for {format_walltime(time_s)}" for who, time_s in too_long.items())
        advice = "shorten the walltime, or send these profiles to another queue."
        return Finding("fail", f"queue {demand.queue} allows {limit}, but {asked}", advice)
    environments = settings.get("pe_list", "NONE")
    return Finding("ok", f"{demand.queue}: time limit {limit}, parallel environments {environments}")


def _environment(name: str, answer: Answer) -> Finding:
    if answer.code != 0:
        advice = "correct parallel_environment / multi_node_environment of the target; `qconf -spl` lists them."
        return Finding("fail", f"there is no parallel environment {name!r}: {answer.words}", advice)
    rule = re.search(r"^allocation_rule\s+(\S+)", answer.stdout, re.MULTILINE)
    return Finding("ok", f"{name}: its slots are placed by {rule[1] if rule else 'an unknown rule'}")


def _resource(name: str, answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding("warn", f"the resources cannot be listed: {answer.words}", _UNREACHED)
    rows = [line.split() for line in answer.stdout.splitlines() if line.strip() and not line.startswith("#")]
    known: Mapping[str, str] = {word: row[4] for row in rows if len(row) >= 6 for word in row[:2]}
    if name not in known:
        advice = "correct memory_resource, gpu_resource or exclusive_resource of the target; `qconf -sc` lists them."
        return Finding("fail", f"there is no resource {name!r}: {did_you_mean(name, list(known))}", advice)
    if known[name] == "NO":
        return Finding("fail", f"the resource {name} may not be requested", "ask your site for its name of this.")
    return Finding("ok", f"{name} can be requested")
