"""What `dagster-hpc doctor` asks of Flux. Each function turns one answer into one finding."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dagster_hpc.checks.base import Ask, Demand, Finding, Probe, Queue, Survey
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.engine.schedulers.flux.requests import Flux

_OLDEST = (0, 49)


def probes(flux: Flux, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    queues = list(dict.fromkeys(demand.queue for demand in demands if demand.queue))
    listed = _listed(flux)
    return [
        Probe("flux", flux.ask("--version"), _version),
        Probe("flux jobs", flux.ask("jobs", "--json"), partial(_answers, flux)),
        Probe("flux resource", flux.ask("resource", "list"), _resources, "warn"),
        Probe("history", flux.ask("config", "get", "--default={}", "job-manager"), _history, "warn"),
        *(Probe("queue", listed, partial(_queue, name), "warn") for name in queues),
        *(
            Probe("limit", flux.ask("config", "get", "--default={}", _limits_of(demand)), partial(_limit, demand), "warn")
            for demand in demands
            if demand.specs
        ),
    ]


def survey(flux: Flux, user: str, ask: Ask) -> Survey | None:
    """The queues. An instance may have none, and its limits are read one by one."""
    answer = ask(_listed(flux))
    if answer is None or answer.code != 0:
        return None
    return Survey([Queue(name) for name in answer.stdout.split()])


def _listed(flux: Flux) -> Call:
    return flux.ask("queue", "list", "-n", "-o", "{queue}")


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
    words, version = " ".join(line.split()), re.search(r"(\d{1,4})\.(\d{1,4})\.", line, re.ASCII)
    if version and (int(version[1]), int(version[2])) < _OLDEST:
        return Finding("fail", f"{words} is older than 0.49: its `flux jobs` has no --json", "ask for an update.")
    return Finding("ok", words)


def _history(answer: Answer) -> Finding:
    """How long, and how many, jobs are known after their end. There are no other accounts."""
    settings = _table(answer)
    if settings is None:
        return Finding("warn", f"how long jobs are known is not told: {answer.words[:500]}", "ask your site.")
    names = {"inactive-age-limit": "older than {}", "inactive-num-limit": "beyond the last {}"}
    limits = [words.format(settings[name]) for name, words in names.items() if name in settings]
    forgotten = f"jobs that are over are forgotten when they are {' or '.join(limits)}" if limits else ""
    return Finding("ok", forgotten or "jobs that are over are known until the instance ends")


def _limits_of(demand: Demand) -> str:
    """The setting that limits the jobs of a queue. What stands there goes before what stands for all queues."""
    return f"queues.{demand.queue}.policy.limits" if demand.queue else "policy.limits"


def _limit(demand: Demand, answer: Answer) -> Finding:
    settings, where = _table(answer), f"queue {demand.queue}" if demand.queue else "the instance"
    told = (settings or {}).get("duration")
    limit_s = duration_s(told) if isinstance(told, str) else None
    if limit_s is None:
        return Finding("ok", f"{where}: no limit of time is told")
    if asked := demand.longer_than(limit_s):
        advice = "shorten the walltime, or send these profiles to another queue."
        return Finding("fail", f"{where} allows {told}, but {asked}", advice)
    return Finding("ok", f"{where}: time limit {told}")


def duration_s(text: str) -> float | None:
    """Flux's standard duration: `8h`, `1.5d`, `90`; None where that is no limit."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(ms|[smhd]?)", text.strip(), re.ASCII)
    unit_s = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return (float(match[1]) * unit_s[match[2]] or None) if match else None


def _table(answer: Answer) -> Mapping[str, Any] | None:
    try:
        value = json.loads(answer.stdout) if answer.code == 0 else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


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
