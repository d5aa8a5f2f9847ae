"""`dagster-hpc retry`: a further attempt at jobs that ended badly, made by the engine as by a retry rule."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from dagster_hpc.cli.asking import Asking
from dagster_hpc.cli.completion import complete_job
from dagster_hpc.cli.lookup import NotFound, Stop, find_jobs, open_ledger, target_of
from dagster_hpc.cli.options import json_option
from dagster_hpc.engine import jobdir
from dagster_hpc.engine.job import JobState, RetryPlan
from dagster_hpc.engine.units import parse_memory, parse_walltime

if TYPE_CHECKING:
    from dagster_hpc.engine.ledger import JobRow, Ledger

_LEAST_OF_A_RUN = 4  # letters of a run's id that are enough to mean it


@click.command(short_help="Submit failed jobs again, linked to the old ones.")
@click.argument("word", metavar="JOB|RUN", shell_complete=complete_job)
@click.option("--walltime", metavar="TIME", help="With another walltime, as in 02:00:00 or 90m.")
@click.option("--memory", metavar="SIZE", help="With another memory_per_node, as in 16G.")
@json_option
@click.pass_obj
def retry(url: str | None, word: str, walltime: str | None, memory: str | None, as_json: bool) -> None:
    """Submit jobs that ended badly again, each as a new attempt that is linked to the old one.

    JOB is a token, the first letters of one, or the scheduler's job id; of an array, its elements that ended badly. RUN
    is the id of a Dagster run, or its first letters: all of its jobs that ended badly, for good. Said twice, it makes
    one attempt. Dagster's run stays failed: re-execute it from failure, and its steps take the new attempts' results.
    """
    from dagster_hpc.cli.display import to_json

    changes = _changes(walltime, memory)
    ledger = open_ledger(url)
    rows = _meant(ledger, word)
    refused = {row.token: why for row in rows if (why := _begin(ledger, row, changes))}
    made = [row for row in rows if row.token not in refused]
    Asking(ledger).ask(made, now=True)
    now = {row.token: row for row in ledger.rows([row.token for row in rows])}
    reports = [_report(ledger, now[row.token], refused.get(row.token, "")) for row in rows]
    if as_json:
        click.echo(to_json(reports))
    else:
        for report in reports:
            click.echo(f"{report['token']}: {report['outcome']}", err=report["token"] in refused)
        if not rows:
            click.echo(f"no job of {word} ended badly: nothing to try again")
    if refused:
        sys.exit(1)


def _changes(walltime: str | None, memory: str | None) -> dict[str, Any]:
    try:
        given: dict[str, Any] = {"walltime_s": parse_walltime(walltime)} if walltime else {}
        return given | ({"memory_mib": parse_memory(memory)} if memory else {})
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _meant(ledger: Ledger, word: str) -> list[JobRow]:
    """The one job that is meant, however it stands; or of an array or a run those that ended badly."""
    try:
        found = find_jobs(ledger, word)
    except NotFound:
        if len(word) < _LEAST_OF_A_RUN:
            raise
        found = [row for row in ledger.jobs() if (row.run_id or "").startswith(word)]
        if not found:
            raise
        runs = {row.run_id for row in found}
        if len(runs) > 1:
            raise Stop(f"{word!r} means {len(runs)} runs: give more letters of its id") from None
        is_one = False
    else:
        is_one = len(found) == 1
    last = {row.token: row for row in ledger.last_attempts([row.token for row in found]).values()}
    return [row for row in last.values() if is_one or (row.is_over and not row.state.is_success)]


def _begin(ledger: Ledger, row: JobRow, changes: dict[str, Any]) -> str:
    """Have a further attempt made; or say why there can be none."""
    if not row.is_over:
        return f"is not over: it is {row.state}" if not row.state.is_final else "is to be tried again already"
    if row.state is JobState.COMPLETED:
        return "ended well: there is nothing to try again"
    if row.state is JobState.LOST:
        return f"may still run: look at the scheduler, then `dagster-hpc release {row.token}` and ask for the work anew"
    request = jobdir.protocol_path(row.batch_dir, jobdir.REQUEST)
    if target_of(row).host.size(request) is None:
        return (
            f"what was asked for is not kept in {row.batch_dir}: it had inputs and no retry rule, or was tidied away. "
            "Re-execute its step in Dagster, or give the request a RetryRule"
        )
    plan = replace(row.retry or RetryPlan(), **changes)
    if ledger.observations.try_again(row.token, plan):
        return ""
    return "is not tried again: the same work is with another job by now, or this one goes on already"


def _report(ledger: Ledger, row: JobRow, refusal: str) -> dict[str, str | None]:
    after = ledger.job(row.next_token) if row.next_token and not refusal else None
    if refusal:
        outcome = refusal
    elif after is not None:
        outcome = f"is tried again as {after.token} (job {after.job_id or 'not submitted yet'}): {after.state}"
    else:
        outcome = "is tried again as soon as anybody polls"
    return {
        "token": row.token,
        "next_token": after.token if after else None,
        "job_id": after.job_id if after else None,
        "outcome": outcome,
    }
