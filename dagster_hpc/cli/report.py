"""`dagster-hpc report`: what jobs have used of what they asked for, over a span of time."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dagster_hpc.cli.lookup import Stop, open_ledger
from dagster_hpc.cli.options import json_option, moment_option, read_moment
from dagster_hpc.cli.tell import tell

if TYPE_CHECKING:
    from dagster_hpc.usage.report import UsageReport

_BY = ("asset", "profile", "user", "target")


@click.group(
    invoke_without_command=True, subcommand_metavar="", short_help="Report what jobs used of what they asked for."
)
@moment_option("--since", "7d", "Jobs that were asked for since then: 7d and 12h are so long ago, 2026-11-01 is a day.")
@moment_option("--until", None, "And before then (default: now).")
@click.option("--by", multiple=True, type=click.Choice(_BY), help="A table by this; may be repeated (default: asset).")
@click.option("--html", metavar="FILE", help="Write all of it as one HTML page with plots, that needs nothing else.")
@json_option
@click.pass_context
def report(
    ctx: click.Context, since: str, until: str | None, by: tuple[str, ...], html: str | None, as_json: bool
) -> None:
    """Report what jobs have used: node hours, waits, failures, and used against requested time, cores and memory.

    It reads the ledger only. Efficiencies are of those jobs of which the scheduler tells, and for which something was
    asked; node hours of running jobs are counted so far.
    """
    if ctx.invoked_subcommand is not None:
        return
    from dagster_hpc.cli.display import to_json
    from dagster_hpc.usage.report import report_on

    now = time.time()
    begins, ends = read_moment(since, now), read_moment(until, now) if until else now
    if begins >= ends:
        raise click.UsageError("--since is not before --until.")
    ledger = open_ledger(ctx.obj)
    made = report_on(ledger.jobs(since=begins, until=ends), begins, ends, now)
    if html:
        _write(Path(html), made, ledger.public_url)
    if as_json:
        click.echo(to_json(made.to_dict()))
    elif html:
        click.echo(f"the report on {made.total.jobs} jobs is in {html}")
    elif not made.total.jobs:
        click.echo(f"no jobs in this span in the ledger {ledger.public_url}", err=True)
    else:
        _print(made, by or _BY[:1])


# How a job tells Dagster of itself was said by `report` at first: that is still understood.
for _command in tell.commands.values():
    _hidden = copy.copy(_command)
    _hidden.hidden = True
    report.add_command(_hidden)


def _write(path: Path, made: UsageReport, ledger: str) -> None:
    from dagster_hpc.usage.page import page

    try:
        path.write_text(page(made, ledger), encoding="utf-8")
    except OSError as error:
        raise Stop(f"the page cannot be written: {error}") from error


def _print(made: UsageReport, by: Sequence[str]) -> None:
    from dagster_hpc.cli.tables import printed
    from dagster_hpc.usage.words import count, duration, energy, hours, percent

    total = made.total
    power = f", {energy(total.energy_j)}" if total.energy_j is not None else ""
    click.echo(f"{count(total.jobs, 'job')}: {total.well} ended well, {total.badly} badly, {total.live} under way")
    click.echo(f"{hours(total.node_hours)} node hours, {hours(total.lost_node_hours)} of them with failures{power}")
    for name in by:
        heads = [name.upper(), "JOBS", "FAILED", "NODE HOURS", "WALLTIME", "CORES", "MEMORY", "WAIT", "WAIT 95%"]
        lines = [
            [
                usage.name, str(usage.jobs), str(usage.badly or ""), hours(usage.node_hours),
                percent(usage.walltime.ratio), percent(usage.cores.ratio), percent(usage.memory.ratio),
                duration(usage.wait_median_s), duration(usage.wait_p95_s),
            ]
            for usage in made.groups[name]
        ]  # fmt: skip
        click.echo(f"\n{printed(heads, lines)}")
    if total.causes:
        click.echo(f"\n{printed(['FAILED BY', 'JOBS'], [[cause, str(many)] for cause, many in total.causes.items()])}")
