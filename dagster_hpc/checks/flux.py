"""What `dagster-hpc doctor` asks of Flux. Each function turns one answer into one finding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dagster_hpc.checks.base import Demand, Finding, Probe
from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.engine.schedulers.flux.requests import Flux


def probes(flux: Flux, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    queues = list(dict.fromkeys(demand.queue for demand in demands if demand.queue))
    listed = flux.ask("queue", "list", "-n", "-o", "{queue}")
    return [
        Probe("flux", flux.ask("--version"), _version),
        Probe("flux jobs", flux.ask("jobs", "--json"), partial(_answers, flux)),
        Probe("flux resource", flux.ask("resource", "list"), _resources, "warn"),
        *(Probe("queue", listed, partial(_queue, name), "warn") for name in queues),
    ]


def _answers(flux: Flux, answer: Answer) -> Finding:
    report = flux.read_queue(answer)
    if report.failed:
        advice = "set FLUX_URI or `uri` of the target to an instance that runs."
        return Finding("fail", f"the instance does not answer: {report.failed}", advice)
    return Finding("ok", f"the instance answers; {len(report.jobs)} of your jobs are not over")


def _version(answer: Answer) -> Finding:
    line = next((line for line in answer.stdout.splitlines() if any(c.isdigit() for c in line)), "")
    if answer.code != 0 or not line:
        return Finding("fail", f"`flux --version` does not work: {answer.words}", "load Flux's environment.")
    return Finding("ok", " ".join(line.split()))


def _resources(answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding("warn", f"the resources cannot be listed: {answer.words}", "ask your site.")
    free = next((line.split() for line in answer.stdout.splitlines() if line.split()[:1] == ["free"]), [])
    found = f"{free[1]} nodes and {free[2]} cores are free" if len(free) > 2 else "the instance has resources"
    return Finding("ok", found)


def _queue(name: str, answer: Answer) -> Finding:
    names = [word for line in answer.stdout.splitlines() if (word := line.strip().rstrip("*"))]
    if answer.code != 0:
        return Finding("warn", f"the queues cannot be listed: {answer.words}", "ask your site.")
    if name not in names:
        hint = did_you_mean(name, names)
        return Finding("fail", f"there is no queue {name!r}: {hint}", "correct queue_cpu / queue_gpu of the target.")
    return Finding("ok", f"there is a queue {name}")
