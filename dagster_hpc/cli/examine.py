"""The checks of `dagster-hpc doctor`: can jobs be run from here, and if not, what is to be done?

Here is the round over one runner; what is asked of a batch system, of files and of the ledger is in `dagster_hpc.checks`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_hpc.checks import probes
from dagster_hpc.checks.base import Check, Demand, Finding, Level, Probe
from dagster_hpc.checks.clocks import SCHEDULER_CLOCK_S, compare_clocks
from dagster_hpc.checks.files import executable, work_root
from dagster_hpc.checks.ledger import ledger
from dagster_hpc.checks.patience import patience
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.hosts.base import Host
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.script import templates_folder
from dagster_hpc.executor.checks import step_checks
from dagster_hpc.resources.command import Command
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.resolve import resolve

if TYPE_CHECKING:
    from dagster_hpc.dice.result import DiceResult
    from dagster_hpc.dice.trial import TrialCase
    from dagster_hpc.executor.definition import HPCExecutorDefinition

_DICE_S = 60.0  # the trial case takes a real Dice half a second
_TRUE = Command("/bin/true")


def examine(hpc: HPCJobRunner, ledger_url: str | None = None) -> Iterator[Check]:
    """All checks of one runner, each as soon as it is done."""
    target = hpc.where.engine_target()
    yield from scheduler_checks(hpc)
    yield from work_root(Path(hpc.folder), is_shared=not _is_local(hpc))
    yield Check("ledger", ledger(hpc.ledger_url or ledger_url))
    yield Check("patience", patience(target, is_local=_is_local(hpc)))
    yield Check("template", _template(hpc))
    for name in hpc.profiles:
        yield Check(f"profile {name}", profile_finding(hpc, name))
    for key, path in hpc.target.executable_map.items():
        finding = executable(path, is_local=_is_local(hpc))
        yield Check(f"executable {key}", finding)
        if finding.level == "ok" and "dice" in (*re.split(r"[\W_]+", key.lower()), os.path.basename(path).lower()):
            yield Check(f"dice {key}", _dice(path))


def examine_steps(executor: HPCExecutorDefinition) -> Iterator[Check]:
    """What the jobs need in which this executor has Dagster execute its steps."""
    return step_checks(executor.python, is_local=_is_local(executor.runner))


# -- the scheduler


def is_reached(hpc: HPCJobRunner) -> bool:
    """Whether the commands of its scheduler are on this machine."""
    asked = probes(hpc.where.scheduler, [], "")
    return all(shutil.which(probe.call.argv[0]) for probe in asked if probe.if_missing == "fail")


def scheduler_checks(hpc: HPCJobRunner) -> Iterator[Check]:
    """What its scheduler says of itself, and of what the profiles ask for."""
    host = hpc.where.engine_target().host
    answers: dict[tuple[str, ...], Answer | None] = {}  # several probes may read one answer
    questions = probes(hpc.where.scheduler, _demands(hpc), host.user)
    if held := hpc.where.held():
        inside, spec = held
        questions = probes(inside.scheduler, [Demand(spec.queue, spec.project, {spec.name: spec})], host.user) + questions
    for probe in questions:
        if probe.call.argv not in answers:
            answers[probe.call.argv] = asked_of(host, probe.call)
        answer = answers[probe.call.argv]
        finding = _missing(probe, host) if answer is None else probe.read(answer)
        yield Check(probe.name, finding)
        if finding.clock is not None:
            behind = time.time() - finding.clock
            yield Check("scheduler clock", compare_clocks(behind, SCHEDULER_CLOCK_S, "the scheduler's"))


def asked_of(host: Host, call: Call) -> Answer | None:
    """The answer; None where there is no such command."""
    try:
        return host.run(call)
    except OSError:
        return None


def _missing(probe: Probe, host: Host) -> Finding:
    program = probe.call.argv[0]
    advice = "run this where the scheduler's commands are, as on a login node, or add their folder to PATH."
    return Finding(probe.if_missing, f"`{program}` is not on the PATH of {host.name}", advice)


def _demands(hpc: HPCJobRunner) -> list[Demand]:
    """The queues that the profiles use, each once, with what they ask there."""
    demands: dict[tuple[str, str], dict[str, JobSpec]] = {}
    for name, profile in hpc.profiles.items():
        route = hpc.target.route(profile.resource_class)
        specs = demands.setdefault((route.queue, route.project), {})
        with suppress(HPCError):  # the profile's own check says so
            specs[name] = resolve(_TRUE, profile, hpc.where)
    if not demands:
        route = hpc.target.route("cpu")
        demands[route.queue, route.project] = {}
    return [Demand(queue, project, specs) for (queue, project), specs in demands.items()]


# -- templates, programs


def _template(hpc: HPCJobRunner) -> Finding:
    given = hpc.where.engine_target().template
    path = Path(given) if given else templates_folder() / hpc.where.scheduler.template
    try:
        path.read_bytes()
    except OSError as error:
        advice = (
            "correct `template` of the target." if given else "install the package again: its files are incomplete."
        )
        return Finding("fail", f"the job template {path} cannot be read: {error.strerror}", advice)
    return Finding("ok", str(path))


def profile_finding(hpc: HPCJobRunner, name: str) -> Finding:
    """Does it make a script for this target, and is its launcher here?"""
    profile = hpc.profiles[name]
    try:
        hpc.render(_TRUE, profile=name)
        spec = resolve(_TRUE, profile, hpc.where)
    except HPCError as error:
        return Finding("fail", error.message.replace("\n", " "), error.advice)
    if _is_local(hpc) and spec.launcher != "single" and shutil.which(spec.launcher) is None:
        brought = " (unless its modules or pre_commands bring it)" if spec.modules or spec.pre_commands else ""
        advice = f"install an MPI that has {spec.launcher}, as in `apt-get install openmpi-bin`."
        return Finding(
            "warn", f"its launcher {spec.launcher} is not on PATH{brought}: such jobs will fail here", advice
        )
    size = f"{spec.nodes} node{'' if spec.nodes == 1 else 's'}, {spec.ranks} rank{'' if spec.ranks == 1 else 's'}"
    return Finding("ok", f"{size}, {profile.walltime}, launcher {spec.launcher}")


def _dice(path: str) -> Finding:
    """Run the trial case through it, here and on one rank: is it a Dice that reads the determinant files?"""
    try:
        from dagster_hpc.dice.files import DiceOptions, read_dice_outputs, write_dice_inputs
        from dagster_hpc.dice.trial import try_dice
    except ImportError as error:
        return Finding("warn", f"it cannot be tried: {error}", "install dagster-hpc with its extra `dice`.")

    def ask(case: TrialCase) -> DiceResult | Exception:
        (alpha, beta), one_body, two_body, norb, nelec = case
        with tempfile.TemporaryDirectory(prefix="dagster-hpc-doctor-") as folder:
            write_dice_inputs(
                folder, alpha, beta, norb=norb, nelec=nelec, one_body=one_body, two_body=two_body,
                options=DiceOptions(select_cutoff=None),
            )  # fmt: skip
            try:
                said = _said(path, folder)
                return read_dice_outputs(folder, norb=norb, nelec=nelec, stdout=said)
            except HPCError as error:
                return error

    trial = try_dice(ask)
    level: Level = "ok" if trial.right else "warn" if trial.reads_determinants is None else "fail"
    return Finding(level, trial.sentence, trial.advice)


def _said(path: str, folder: str) -> bytes:
    """What a Dice says that is started in this folder; an error where it never came to say or do anything."""
    elsewhere = "if it needs modules or runs on compute nodes only, try it there: DiceSolver(...).try_out() is a job."
    try:
        done = subprocess.run(
            [path], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_DICE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise HPCError(f"it did not solve the trial case within {_DICE_S:g} s", advice=elsewhere) from None
    except OSError as error:
        raise HPCError(f"it cannot be started: {error.strerror or error}", advice=elsewhere) from None
    if not Path(folder, "shci.e").exists() and not done.stdout.strip():
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        said = words[-1] if words else "it said nothing"
        raise HPCError(f"it ended with exit code {done.returncode} and no answer: {said}", advice=elsewhere)
    return done.stdout


def _is_local(hpc: HPCJobRunner) -> bool:
    return hpc.target.scheduler.kind == "local"
