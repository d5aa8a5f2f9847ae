"""From what a person types to jobs of the ledger, and from there to the scheduler that has them. Without Dagster."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
import sqlalchemy as sa

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.ledger.database import default_url
from dagster_hpc.engine.schedulers import from_json
from dagster_hpc.engine.target import Target

if TYPE_CHECKING:
    from dagster_hpc.engine.workplace import Workplace

_CANDIDATES = 20


class Stop(click.ClickException):
    """The end of a command that could not do what it was asked for: a text on stderr and an exit code."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        click.echo(f"{click.style('error:', fg='red')} {self.message}", file=file, err=file is None)


class Ambiguous(Stop):
    exit_code = 2


class NotFound(Stop):
    exit_code = 3


def open_ledger(url: str | None) -> Ledger:
    """The ledger; `NotFound` where there is none, because to look is not to make one."""
    url = url or default_url()
    try:
        parsed = sa.make_url(url)
        path = parsed.database if parsed.get_backend_name() == "sqlite" else None
        if path and not os.path.exists(path):
            raise NotFound(f"there is no ledger at {path}: no job has been submitted with it (see --ledger)")
        return Ledger(url)
    except sa.exc.SQLAlchemyError as error:
        raise Stop(f"the ledger cannot be opened: {getattr(error, 'orig', None) or error}") from error


def find_jobs(ledger: Ledger, word: str) -> list[JobRow]:
    """The one job that the word means, or all elements of one array; otherwise `Stop`."""
    rows = ledger.look_up(word) if word else []
    if not rows:
        raise NotFound(f"no job of the ledger {ledger.public_url} has the token or job id {word!r}")
    if len(rows) == 1 or is_array(rows):
        return rows
    from dagster_hpc.cli.display import job_table

    more = f"\n… and {len(rows) - _CANDIDATES} more" if len(rows) > _CANDIDATES else ""
    table = job_table(rows[:_CANDIDATES], err=True)
    raise Ambiguous(f"{word!r} means {len(rows)} jobs; take one by its token:\n{table}{more}")


def is_array(rows: Sequence[JobRow]) -> bool:
    return len(rows) > 1 and len({row.batch for row in rows}) == 1


def by_target(rows: Sequence[JobRow]) -> dict[str, list[JobRow]]:
    targets: dict[str, list[JobRow]] = {}
    for row in rows:
        targets.setdefault(row.target, []).append(row)
    return targets


def owed(ledger: Ledger, rows: Sequence[JobRow]) -> set[str]:
    """The tokens of those that ended well and whose results nobody has received."""
    held = [row.token for row in rows if row.state.is_success and row.held_identity is not None]
    return set(held) - set(ledger.deliveries.recipients_of(held))


def target_of(row: JobRow) -> Target:
    """The target of a job, from what the ledger keeps of it."""
    try:
        scheduler, here = from_json(row.scheduler), socket.gethostname()
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{row.token} was submitted to a scheduler that this version does not know: {row.scheduler}",
            advice="use the version of dagster_hpc that submitted it.",
        ) from error
    name = row.target.removesuffix(f"@{row.cluster}")
    if scheduler.kind == "local" and (lives_on := _local_host(row, name) or here) != here:
        # Its spool is not here: asking for the job would find no trace of it, and end in calling it lost.
        raise ConfigurationError(
            f"{row.token} runs on {lives_on} itself, under the scheduler embedded there",
            advice=f"run this command on {lives_on}.",
        )
    keep = _watch(scheduler) if scheduler.kind == "steps" else None
    return Target(name, scheduler, LocalHost(), cluster=row.cluster, keep=keep)


def _watch(steps: Any) -> Callable[[Workplace], float | None]:
    """What whoever looks at steps does: tell them what has become of the job that held them."""
    from dagster_hpc.engine.allocation import Watch

    return Watch(steps.spool, target_of)


def _local_host(row: JobRow, name: str) -> str:
    """The machine of a job of the embedded scheduler: its target is named after it, unless a user gave it a name."""
    if name.startswith("local@"):
        return name.removeprefix("local@").partition(":")[0]
    return row.owner.partition(" ")[0] if " " in row.owner else ""
