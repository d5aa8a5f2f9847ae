"""The options that several commands have, and which jobs of the ledger they choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from dagster_hpc.cli.completion import complete_known
from dagster_hpc.engine.job import JobState

if TYPE_CHECKING:
    from dagster_hpc.engine.ledger import JobRow, Ledger

json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, for programs.")
ask_option = click.option(
    "--ask/--no-ask", default=True, help="Ask the scheduler, or say only what the ledger knows already."
)
module_option = click.option(
    "--module", metavar="MODULE", help="The code location (default: module_name of [tool.dagster] in ./pyproject.toml)."
)
_FILTERS = (
    click.option("--live/--over", default=None, help="Only jobs that wait or run; only jobs that are over."),
    click.option(
        "--state",
        type=click.Choice([state.value for state in JobState], case_sensitive=False),
        help="Only jobs in this state.",
    ),
    click.option(
        "--target", metavar="NAME", help="Only jobs on this target.", shell_complete=complete_known("target")
    ),
    click.option(
        "--asset",
        metavar="KEY",
        help="Only jobs of this asset, as in group/name.",
        shell_complete=complete_known("asset_key"),
    ),
    click.option(
        "--run",
        metavar="ID",
        help="Only jobs of this Dagster run; the first letters of its id suffice.",
        shell_complete=complete_known("run_id"),
    ),
)


def moment_option(name: str, usual: str | None, help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option that takes a time as a person writes it; `read_moment` reads it."""
    return click.option(name, metavar="TIME", default=usual, show_default=usual is not None, help=help)


def read_moment(text: str, now: float) -> float:
    """Seconds since 1970."""
    from dagster_hpc.usage.span import moment

    try:
        return moment(text, now)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@dataclass(frozen=True)
class Filter:
    """What the options of `filter_options` ask for."""

    live: bool | None = None
    state: str | None = None
    target: str | None = None
    asset: str | None = None
    run: str | None = None

    def choose(self, ledger: Ledger, limit: int | None = None) -> list[JobRow]:
        """The jobs that fit, newest first."""
        run = self.run
        rows = ledger.jobs(
            live=self.live,
            target=self.target,
            state=JobState(self.state) if self.state else None,
            asset_key=self.asset,
            run_id=run if run and len(run) == 36 else None,
            limit=None if run else limit,
        )
        return [row for row in rows if not run or (row.run_id or "").startswith(run)]


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options by which `jobs` and `export` choose."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command
