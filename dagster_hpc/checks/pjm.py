"""What `dagster-hpc doctor` asks of PJM. Each function turns one answer into one finding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from dagster_hpc.checks.base import Demand, Finding, Probe
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.schedulers.pjm.requests import PJM

_UNREACHED = "check that this is a login node, and ask your site whether the job manager runs."


def probes(pjm: PJM, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    groups = dict.fromkeys(demand.queue for demand in demands if demand.queue)
    return [
        Probe("pjsub", Call(("sh", "-c", "command -v pjsub")), partial(_there, "pjsub")),
        Probe("pjdel", Call(("sh", "-c", "command -v pjdel")), partial(_there, "pjdel")),
        Probe("pjstat", pjm.queue(["1"]), partial(_answers, pjm)),
        *(Probe("resource group", Call(("pjstat", "--rsc")), partial(_group, name), "warn") for name in groups),
        Probe("bulk jobs", Call(("pjacl",)), _bulk, "warn"),
    ]


def _there(program: str, answer: Answer) -> Finding:
    if answer.code == 0 and answer.stdout.strip():
        return Finding("ok", answer.stdout.strip())
    return Finding("fail", f"`{program}` is not on PATH", "run this on a login node, or add its folder to PATH.")


def _answers(pjm: PJM, answer: Answer) -> Finding:
    report = pjm.read_queue(answer)
    if report.instead:
        return Finding("ok", "the job manager answers; this pjstat knows no --choose or --data and is read by columns")
    if report.failed:
        return Finding("fail", f"the job manager does not answer: {report.failed}", _UNREACHED)
    return Finding("ok", "the job manager answers")


def _group(name: str, answer: Answer) -> Finding:
    if answer.code != 0 or "[ERR.]" in answer.stdout + answer.stderr:
        return Finding("warn", f"the resource groups cannot be listed: {answer.words}", _UNREACHED)
    if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", answer.stdout):
        return Finding("ok", f"`pjstat --rsc` lists {name}")
    return Finding(
        "warn",
        f"`pjstat --rsc` does not mention the resource group {name!r}",
        "check queue_cpu / queue_gpu of the target; `pjacl` shows what you may use.",
    )


def _bulk(answer: Answer) -> Finding:
    """pjacl's line of the permission; its words are not the same everywhere."""
    if answer.code != 0 or "[ERR.]" in answer.stdout + answer.stderr:
        return Finding(
            "warn", f"`pjacl` does not tell whether bulk jobs are permitted: {answer.words}", "ask your site."
        )
    lines = [line for line in answer.stdout.splitlines() if re.search(r"\bpjsub-bulk\b", line)]
    if any(re.search(r"\b(disable|deny|denied|no|forbid)", line, re.I) for line in lines):
        return Finding(
            "warn", "bulk jobs are not permitted here, so arrays are refused", "run elements as single jobs."
        )
    if any(re.search(r"\b(enable|allow|permit|yes)", line, re.I) for line in lines):
        return Finding("ok", "bulk jobs are permitted")
    return Finding("warn", "`pjacl` does not mention pjsub-bulk: whether arrays are taken shows at the first one")
