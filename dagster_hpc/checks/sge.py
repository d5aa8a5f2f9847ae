"""What `dagster-hpc doctor` asks of Grid Engine. Each function turns one answer into one finding."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

from dagster_hpc.checks.base import Ask, Demand, Finding, Probe, Queue, Survey
from dagster_hpc.checks.mpi import mpi_probes
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.engine.schedulers.sge.replies import limit
from dagster_hpc.engine.schedulers.sge.requests import SGE
from dagster_hpc.engine.schedulers.sge.words import seconds

_UNREACHED = "check SGE_ROOT and SGE_CELL, and with your site whether sge_qmaster runs and this is a submit host."


def probes(sge: SGE, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    environments = [name for name in (sge.parallel_environment, sge.multi_node_environment) if name]
    fixed = [name for name in environments if "{cores}" not in name]
    resources = [*sge.memory_resource.split(","), sge.gpu_resource, sge.exclusive_resource]
    required = [name.strip() for name in resources if name.strip()]
    named = [demand for demand in demands if demand.queue]
    projects = dict.fromkeys(demand.project for demand in demands if demand.project)
    return [
        Probe("qsub", Call(("qsub", "-help")), _version),
        Probe("qdel", Call(("qdel", "-help")), _version),
        Probe("qstat", sge.queue(()), partial(_queue, sge)),
        Probe("qacct", sge.history(()), partial(_accounting, sge), "warn"),
        Probe("limits", Call(("qconf", "-sconf")), _cell, "warn"),
        *(
            Probe("queue", Call(("qconf", "-sq", one.queue)), partial(_limits, one, environments), "warn")
            for one in named
        ),
        *(Probe("project", Call(("qconf", "-sprj", name)), partial(_project, name), "warn") for name in projects),
        *(
            Probe("parallel environment", Call(("qconf", "-sp", name)), partial(_environment, name), "warn")
            for name in dict.fromkeys(fixed)
        ),
        *(
            Probe("resource", Call(("qconf", "-sc")), partial(_resource, name), "warn")
            for name in dict.fromkeys(required)
        ),
        *mpi_probes("sge", demands),
    ]


def survey(sge: SGE, user: str, ask: Ask) -> Survey | None:
    """The queues; and the parallel environments that place a job's slots as a target wants them."""
    queues, names = ask(Call(("qconf", "-sq", "*"))), ask(Call(("qconf", "-spl")))
    if queues is None or queues.code != 0:
        return None
    rules = {name: ask(Call(("qconf", "-sp", name))) for name in (names.stdout.split() if names and not names.code else ())}
    return Survey([_queue_of(text) for text in re.split(r"\n{2,}", queues.stdout.strip())], fields=_environments(rules))


def _queue_of(text: str) -> Queue:
    settings = _settings(text)
    return Queue(
        settings["qname"],
        cores_per_node=_number(settings.get("slots", "")),
        walltime_s=seconds(settings.get("h_rt", "INFINITY").split(",")[0]),
    )


def _number(text: str) -> int | None:
    """`4,[node1=8]`: the most that one host offers."""
    numbers = [int(each) for each in re.findall(r"(?:^|=)(\d{1,9})", text, re.ASCII)]
    return max(numbers, default=None)


def _settings(text: str) -> dict[str, str]:
    joined = re.sub(r"\\\n\s*", "", text)  # a long value goes on in the next line
    return {key: value.strip() for key, _, value in (line.partition(" ") for line in joined.splitlines())}


def _environments(answers: Mapping[str, Answer | None]) -> dict[str, str]:
    """$pe_slots is one node; a number of slots or $fill_up goes over several."""
    rules = {
        name: rule[1]
        for name, answer in answers.items()
        if answer and (rule := re.search(r"^allocation_rule\s+(\S+)", answer.stdout, re.MULTILINE))
    }
    one = next((name for name, rule in rules.items() if rule == "$pe_slots"), "")
    many = next((name for name, rule in rules.items() if rule == "$fill_up"), "")
    return {
        key: name for key, name in (("parallel_environment", one), ("multi_node_environment", many)) if name
    }


def _version(answer: Answer) -> Finding:
    """The first line of the help text is the version: `SGE 8.1.9`."""
    first = next(iter(answer.stdout.strip().splitlines()), "")
    if answer.code not in (0, 1) or not re.search(r"\d+\.\d", first):
        return Finding("fail", f"`{answer.argv[0]} -help` does not work: {answer.words}", _UNREACHED)
    return Finding("ok", first)


def _queue(sge: SGE, answer: Answer) -> Finding:
    report = sge.read_queue(answer)
    if report.failed:
        return Finding("fail", f"the master does not answer as it should: {report.failed}", _UNREACHED)
    number = len({sge.array_id(job_id) for job_id in report.jobs})
    if not report.whole:
        advice = "report what `qstat -s a -r -xml` prints; jobs that it does not show are asked for one by one."
        words = f"some rows of its list are not understood; {number} of your jobs are in the queue"
        return Finding("warn", words, advice)
    return Finding("ok", f"the master answers; {number} of your jobs are in the queue")


def _accounting(sge: SGE, answer: Answer) -> Finding:
    report = sge.read_history(answer)
    if answer.code == 0 and not report.failed:
        return Finding("ok", f"the accounting can be read; jobs are looked for in its last {sge.history_days} days")
    return Finding(
        "warn",
        f"the accounting cannot be read here ({report.failed or answer.words}): CPU time and memory of jobs stay unknown, "
        "and why the system ended a job, too",
        "ask your site for read access to $SGE_ROOT/$SGE_CELL/common/accounting; without it, set accounting_delay of "
        "the target to 0. In a new cell the file appears with the end of the first job.",
    )


def _cell(answer: Answer) -> Finding:
    """How many jobs, and elements of an array, the cell takes."""
    if answer.code != 0 or not re.search(r"^max_aj_tasks\s", answer.stdout, re.MULTILINE):
        advice = "set max_jobs of the target if your site limits how many jobs you may have."
        return Finding("warn", f"the limits of the cell cannot be read: {answer.words[:500]}", advice)
    names = {"max_u_jobs": "jobs of yours (an array is one)", "max_jobs": "jobs of all users", "max_aj_tasks": "elements"}
    limits = [f"{most} {what}" for name, what in names.items() if (most := limit(answer, name)) is not None]
    return Finding("ok", f"arrays are possible; at most {', '.join(limits) or 'as many as you like'}")


def _limits(demand: Demand, needed: Sequence[str], answer: Answer) -> Finding:
    if answer.code != 0:
        advice = "correct queue_cpu / queue_gpu of the target; `qconf -sql` lists the queues."
        return Finding("fail", f"there is no queue {demand.queue!r}: {answer.words}", advice)
    settings = _settings(answer.stdout)
    limit = settings.get("h_rt", "INFINITY").split(",")[0]  # what follows is for single hosts
    limit_s = seconds(limit)
    if asked := demand.longer_than(limit_s):
        advice = "shorten the walltime, or send these profiles to another queue."
        return Finding("fail", f"queue {demand.queue} allows {limit}, but {asked}", advice)
    environments = settings.get("pe_list", "NONE")
    offered = re.split(r"[\s,]+", environments.partition("[")[0].strip())  # what follows is for single hosts
    missing = [name for name in needed if not any(_fits(name, one) for one in offered)]
    if missing and "[" not in environments:
        return Finding(
            "warn",  # whether a profile needs them is not known here
            f"queue {demand.queue} has the parallel environments {environments}, so that a job in "
            f"{' or '.join(missing)} would wait for ever",
            "correct parallel_environment / multi_node_environment of the target, or choose another queue.",
        )
    return Finding("ok", f"{demand.queue}: time limit {limit}, parallel environments {environments}")


def _fits(name: str, offered: str) -> bool:
    """`mpi_{cores}` stands for `mpi_4` and the like."""
    return re.fullmatch(re.escape(name).replace(re.escape("{cores}"), r"\d+"), offered) is not None


def _project(name: str, answer: Answer) -> Finding:
    if answer.code != 0:
        advice = "correct project_cpu / project_gpu of the target; `qconf -sprjl` lists the projects."
        return Finding("fail", f"there is no project {name!r}: {answer.words}", advice)
    return Finding("ok", f"there is a project {name}")


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
