"""What `dagster-hpc doctor` asks of PJM. Each function turns one answer into one finding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from dagster_hpc.checks.base import Ask, Demand, Finding, Probe, Survey
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.schedulers.pjm import limits
from dagster_hpc.engine.schedulers.pjm.requests import PJM
from dagster_hpc.engine.schedulers.pjm.tables import delimiter, rows
from dagster_hpc.engine.units import format_walltime

_UNREACHED = "check that this is a login node, and ask your site whether the job manager runs."


def probes(pjm: PJM, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    groups = [demand for demand in demands if demand.queue]
    listed = dict.fromkeys(demand.queue for demand in groups)
    return [
        Probe("pjsub", Call(("sh", "-c", "command -v pjsub")), partial(_there, "pjsub")),
        Probe("pjdel", Call(("sh", "-c", "command -v pjdel")), partial(_there, "pjdel")),
        Probe("pjstat", pjm.queue([]), partial(_answers, pjm)),
        Probe("history", pjm.history([]), partial(_history, pjm), "warn"),
        *(Probe("resource group", Call(("pjstat", "--rsc")), partial(_group, name), "warn") for name in listed),
        *(Probe("limits of a job", _acl(demand.queue), partial(_size, demand), "warn") for demand in groups),
        Probe("bulk jobs", _acl(groups[0].queue if groups else ""), partial(_bulk, pjm), "warn"),
        *(
            Probe("room", pjm.room(user, queue, project)[0], partial(_room, pjm), "warn")
            for queue, project in dict.fromkeys((demand.queue, demand.project) for demand in demands)
        ),
    ]


def survey(pjm: PJM, user: str, ask: Ask) -> Survey | None:
    """Only that it is there: no form of `pjstat --rsc` is known well enough to read the resource groups from it."""
    answer = ask(Call(("pjstat", "--rsc")))
    return None if answer is None or _failed(answer) else Survey([])


def _acl(queue: str) -> Call:
    return Call(("pjacl", *(("--rg", queue) if queue else ())))


def _failed(answer: Answer) -> bool:
    return answer.code != 0 or "[ERR.]" in answer.stdout + answer.stderr


def _there(program: str, answer: Answer) -> Finding:
    if answer.code == 0 and answer.stdout.strip():
        return Finding("ok", answer.stdout.strip())
    return Finding("fail", f"`{program}` is not on PATH", "run this on a login node, or add its folder to PATH.")


def _answers(pjm: PJM, answer: Answer) -> Finding:
    """In which of its forms pjstat lists the jobs; each is read, and columns with the least certainty."""
    report = pjm.read_queue(answer)
    if report.instead:
        return Finding(
            "ok", "the job manager answers; its pjstat does not heed --choose and --data and is read by columns"
        )
    if report.failed:
        return Finding("fail", f"the job manager does not answer: {report.failed}", _UNREACHED)
    if mark := delimiter(answer.stdout):
        return Finding("ok", f"the job manager answers, in a table whose delimiter is {mark!r}")
    return Finding("ok", "the job manager answers, and lists no job of yours")


def _history(pjm: PJM, answer: Answer) -> Finding:
    """Whether it shows any ended job; an account on Fugaku is reported for which it never does."""
    report = pjm.read_history(answer)
    if report.failed and not report.instead:
        return Finding(
            "warn",
            f"the history does not answer: {report.failed}",
            "wait until it does: until then ended jobs are judged by their own files, and by `pjstat -s`.",
        )
    ended = rows(answer.stdout)
    if ended:
        return Finding("ok", f"`pjstat -H` shows {len(ended)} of your jobs that have ended")
    return Finding(
        "ok",
        "`pjstat -H` shows no job of yours that has ended; if there were any, it is empty for you, and each job that "
        "has ended is asked for by `pjstat -s`",
    )


def _group(name: str, answer: Answer) -> Finding:
    if _failed(answer):
        return Finding("warn", f"the resource groups cannot be listed: {answer.words}", _UNREACHED)
    if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", answer.stdout):
        return Finding("ok", f"`pjstat --rsc` lists {name}")
    return Finding(
        "warn",
        f"`pjstat --rsc` does not mention the resource group {name!r}",
        "check queue_cpu / queue_gpu of the target; `pjacl` shows what you may use.",
    )


def _size(demand: Demand, answer: Answer) -> Finding:
    """Whether the resource group takes the profiles, and this group's jobs at all."""
    if _failed(answer):
        return Finding("warn", f"`pjacl` does not tell what {demand.queue} takes: {answer.words}", "ask your site.")
    acl, group = limits.acl_of(answer), demand.queue
    if demand.project and demand.project in acl.denied_groups:
        return Finding(
            "fail",
            f"the group {demand.project!r} may submit no jobs to {group}",
            "set project_cpu / project_gpu of the target to a group of your project; `id -Gn` lists yours.",
        )
    too_long = demand.longer_than(acl.longest_s)
    wrong = [f"{too_long} and {group} allows {format_walltime(acl.longest_s or 0)}"] if too_long else []
    wrong += [
        f"profile {who!r} asks for {spec.nodes} nodes and {group} takes {acl.least_nodes or 1} to {acl.most_nodes}"
        for who, spec in demand.specs.items()
        if acl.most_nodes and not (acl.least_nodes or 1) <= spec.nodes <= acl.most_nodes
    ]
    if wrong:
        return Finding(
            "fail",
            "; ".join(wrong),
            "change num_nodes or walltime of the profile, or send it to another resource group.",
        )
    if acl.longest_s is None and acl.most_nodes is None:
        return Finding(
            "warn",
            f"what `pjacl` says of {group} is not understood, so sizes are checked at the first submission",
            f"read `pjacl --rg {group}` yourself.",
        )
    longest = format_walltime(acl.longest_s) if acl.longest_s else "any time"
    return Finding(
        "ok", f"{group} takes {acl.least_nodes or 1} to {acl.most_nodes or 'any number of'} nodes, {longest}"
    )


def _bulk(pjm: PJM, answer: Answer) -> Finding:
    """pjacl's line of the permission; its words are not the same everywhere."""
    if "array" in pjm.lacks:
        return Finding("ok", "the target says that there are no bulk jobs here: elements run as single jobs")
    if _failed(answer):
        return Finding(
            "warn", f"`pjacl` does not tell whether bulk jobs are permitted: {answer.words}", "ask your site."
        )
    lines = [line for line in answer.stdout.splitlines() if re.search(r"\bpjsub-bulk\b", line)]
    if any(re.search(r"\b(disable|deny|denied|no|forbid)", line, re.I) for line in lines):
        return Finding(
            "warn",
            "bulk jobs are not permitted here, so arrays are refused",
            "set bulk_jobs=False of the target: elements then run as single jobs.",
        )
    if any(re.search(r"\b(enable|allow|permit|yes)", line, re.I) for line in lines):
        most = limits.acl_of(answer).bulk
        return Finding("ok", f"bulk jobs are permitted{f', of {most} elements at most' if most else ''}")
    return Finding(
        "warn",
        "`pjacl` does not mention pjsub-bulk: whether arrays are taken shows at the first one",
        "submit a small array, or ask your site.",
    )


def _room(pjm: PJM, answer: Answer) -> Finding:
    room = pjm.read_room([answer])
    asked = " ".join(answer.argv)
    if _failed(answer):
        return Finding("warn", f"`{asked}` does not tell how many jobs are taken: {answer.words}", _UNREACHED)
    if room.jobs == 0:
        return Finding(
            "warn",
            f"`{asked}` leaves room for no job now",
            "wait: jobs that are submitted meanwhile wait in the ledger.",
        )
    jobs = "any number of" if room.jobs is None else str(room.jobs)
    elements = f", of an array {room.elements} elements" if room.elements else ""
    return Finding("ok", f"`{asked}` leaves room for {jobs} jobs{elements}")
