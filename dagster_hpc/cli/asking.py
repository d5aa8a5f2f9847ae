"""Asking the schedulers that have jobs: as any process does that waits for them, and no more often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from dagster_hpc.cli.lookup import by_target, target_of
from dagster_hpc.engine.errors import HPCError

if TYPE_CHECKING:
    from dagster_hpc.engine.ledger import JobRow, Ledger
    from dagster_hpc.engine.runner import Runner


def warn(message: str) -> None:
    click.echo(f"{click.style('warning:', fg='yellow')} {message}", err=True)


class Asking:
    """One runner for each target, which asks once which cluster it reaches."""

    def __init__(self, ledger: Ledger, on_warning: Callable[[str], None] = warn) -> None:
        self._ledger = ledger
        self._on_warning = on_warning
        self._runners: dict[str, Runner] = {}

    def ask(self, rows: Sequence[JobRow], *, now: bool = False) -> None:
        """Ask for all jobs of the targets of these, where that is due; `now`: whether it is or not."""
        for name, some in by_target(rows).items():
            try:
                if now:
                    self._ledger.leases.hurry(name, 0.0)
                self._runner(name, some[0]).tick()
            except HPCError as error:
                self._on_warning(str(error))

    def _runner(self, name: str, row: JobRow) -> Runner:
        from dagster_hpc.engine.runner import Runner
        from dagster_hpc.engine.target import Listener

        if name not in self._runners:
            self._runners[name] = Runner(target_of(row), self._ledger, Listener(on_warning=self._on_warning))
        return self._runners[name]
