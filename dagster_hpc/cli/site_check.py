"""The checks of `dagster-hpc site check`: the files first; and if they are well, every target and its scheduler."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

from dagster_hpc.checks import survey
from dagster_hpc.checks.base import Check, Finding
from dagster_hpc.cli.examine import asked_of, examine, is_reached, profile_finding
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.site.outdated import outdated_limits
from dagster_hpc.site.plan import Plan, variable_fields
from dagster_hpc.site.settings import Settings
from dagster_hpc.site.variables import unknown_variables


def site_checks(settings: Settings, ledger_url: str | None) -> Iterator[tuple[str, Check]]:
    """All checks, each with what it is about: the files, the environment, or a target."""
    environ: Mapping[str, str] = os.environ
    plan = Plan.of(settings, environ)
    for fault in plan.faults:
        yield "files", Check(str(fault.place), Finding("fail", fault.sentence))
    if plan.faults:
        return
    for name in unknown_variables(environ, list(variable_fields())):
        sentence = f"${name} is set, and this program reads no such variable"
        yield "environment", Check("variable", Finding("warn", sentence, "unset it, unless your own code reads it."))
    names = f"targets {', '.join(plan.targets)}; profiles {', '.join(plan.profiles) or 'none'}"
    yield "files", Check("site", Finding("ok", names))
    for name, hpc in plan.runners.items():
        if plan.unset[name]:
            for fault in plan.unset[name]:
                advice = "set it, if this target is to be used from here."
                yield f"target {name}", Check(str(fault.place), Finding("warn", fault.sentence, advice))
            continue
        for check in _checks_of(hpc, ledger_url):
            kind, _, profile = check.name.partition(" ")
            place = f" ({settings.place('profiles', profile)})" if kind == "profile" else ""
            yield f"target {name}", replace(check, name=check.name + place)


def _checks_of(hpc: HPCJobRunner, ledger_url: str | None) -> Iterator[Check]:
    if not is_reached(hpc):
        yield Check("scheduler", Finding("ok", "its commands are not on this machine: only the files were looked at"))
        yield from (Check(f"profile {name}", profile_finding(hpc, name)) for name in hpc.profiles)
        return
    yield from examine(hpc, ledger_url)
    host = hpc.target.engine_target().host
    told = survey(hpc.target.scheduler, host.user, lambda call: asked_of(host, call))
    yield from outdated_limits(hpc.target.limits, told) if told else ()
