"""`dagster-hpc advise`: how much time and memory to ask for, from what jobs have used."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dagster_hpc.cli.lookup import open_ledger
from dagster_hpc.cli.options import json_option, moment_option, read_moment

if TYPE_CHECKING:
    from dagster_hpc.usage.advice import Advice


@click.command(short_help="Advise on walltime and memory, from past jobs.")
@moment_option("--since", "90d", "From jobs that were asked for since then.")
@click.option("--by", type=click.Choice(["profile", "asset"]), default="profile", show_default=True)
@click.option("--margin", type=click.IntRange(0), default=20, show_default=True, help="So much more, in per cent.")
@click.option("--least", type=click.IntRange(1), default=10, show_default=True, help="From fewer jobs, no advice.")
@json_option
@click.pass_obj
def advise(url: str | None, since: str, by: str, margin: int, least: int, as_json: bool) -> None:
    """Advise on walltime and memory_per_node, from what 95 in 100 jobs have used.

    By profile, it prints what can be pasted into a site file. By asset, it prints a table: what to put into overrides. A
    job that ran into its walltime or out of memory counts as one that needs at least what it had.
    """
    from dagster_hpc.cli.display import to_json
    from dagster_hpc.usage.advice import advise as advice_on
    from dagster_hpc.usage.advice import as_toml

    ledger = open_ledger(url)
    rows = ledger.jobs(since=read_moment(since, time.time()))
    found = advice_on(rows, by, least=least, margin=margin / 100)
    if as_json:
        click.echo(to_json([one.to_dict() for one in found]))
    elif not found:
        click.echo(f"no jobs to learn from: none of a named {by} since {since}", err=True)
    elif by == "profile":
        click.echo(as_toml(found, least=least, margin=margin / 100))
    else:
        click.echo(_table(found))


def _table(found: Sequence[Advice]) -> str:
    from dagster_hpc.cli.tables import printed
    from dagster_hpc.engine.units import format_walltime

    lines = []
    for one in found:
        seconds, mib = one.walltime.advised, one.memory.advised
        lines.append(
            [
                one.name,
                one.profile or "-",
                str(one.walltime.jobs),
                f"{'≥ ' if one.walltime.is_least else ''}{format_walltime(seconds)}" if seconds else "-",
                format_walltime(one.walltime.was) if one.walltime.was else "-",
                f"{'≥ ' if one.memory.is_least else ''}{mib}M" if mib else "-",
                f"{one.memory.was}M" if one.memory.was else "-",
            ]
        )
    return printed(["ASSET", "PROFILE", "JOBS", "WALLTIME", "WAS", "MEMORY", "WAS"], lines, words=("PROFILE",))
