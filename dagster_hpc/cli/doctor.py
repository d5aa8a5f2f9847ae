"""`dagster-hpc doctor`: whether jobs can be run from here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from dagster_hpc.cli.options import json_option, module_option
from dagster_hpc.engine.errors import HPCError

if TYPE_CHECKING:
    from dagster_hpc.checks.base import Check


@click.command(short_help="Check whether jobs can be run from here.")
@click.option("--runner", metavar="KEY", help="Only this HPCJobRunner (default: all of the code location).")
@module_option
@click.option(
    "--target",
    metavar="KIND",
    help="No code location: check a target of this kind with its defaults: local, slurm, pbs, miyabi, gadi, "
    "torque, pjm, fugaku, lsf, sge or flux.",
)
@click.option("--work-root", metavar="DIR", help="With --target: the folder for the jobs' directories.")
@json_option
@click.pass_obj
def doctor(
    url: str | None, runner: str | None, module: str | None, target: str | None, work_root: str | None, as_json: bool
) -> None:
    """Check whether jobs can be run from here: scheduler, accounting, queues, folders, ledger, clocks, programs.

    Each line says ok, warn or FAIL, and then what to do. The exit code is 1 if a check failed; warnings are none.
    """
    if (target is None) != (work_root is None) or (target and (module or runner)):
        raise click.UsageError("give --target with --work-root, or a code location (--module, --runner), or nothing.")
    from dagster_hpc.cli.checks_shown import show_checks

    checks = _checks(url, runner, module, target, work_root)
    show_checks(checks, as_json=as_json, about="runner", well="healthy")


def _checks(
    url: str | None, runner: str | None, module: str | None, target: str | None, work_root: str | None
) -> Iterator[tuple[str, Check]]:
    """All checks of all runners that are meant, each with the name of its runner."""
    from dagster_hpc.checks.base import Check, Finding
    from dagster_hpc.cli.code_location import executors, make_runner, open_runners
    from dagster_hpc.cli.examine import examine, examine_steps

    with ExitStack() as stack:
        try:
            if target and work_root:
                runners = {target: make_runner(target, work_root)}
            else:
                runners = stack.enter_context(open_runners(module, runner))
        except HPCError as error:
            yield "code location", Check("runner", Finding("fail", error.message, error.advice))
            return
        for name, hpc in runners.items():
            for check in examine(hpc, url):
                yield name, check
        for name, executor in executors(module).items() if target is None else ():
            for check in examine_steps(executor):
                yield f"steps_of_{name}", check
