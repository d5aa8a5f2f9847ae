"""`dagster-hpc top`: the jobs that are under way, again and again."""

from __future__ import annotations

import select
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from dagster_hpc.cli.asking import Asking
from dagster_hpc.cli.lookup import open_ledger
from dagster_hpc.cli.options import ask_option, json_option

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dagster_hpc.engine.ledger import JobRow, Ledger
    from dagster_hpc.usage.live import LiveView

_HEAD = 6  # lines of the screen that are no jobs
_ALL = 1_000_000
_RELAX = 10  # a look at the ledger is made again after ten times what it took, at the earliest


@click.command(short_help="Watch the jobs that are under way.")
@click.option("--once", is_flag=True, help="Print it once and end, for scripts.")
@click.option("--every", type=click.FloatRange(0.5), default=2.0, show_default=True, help="Seconds between two looks.")
@ask_option
@json_option
@click.pass_obj
def top(url: str | None, once: bool, every: float, ask: bool, as_json: bool) -> None:
    """Watch the jobs that are under way: states, reasons, progress of arrays, cost so far. Ends with q or Ctrl-C.

    What runs comes first, then what waits. An array is one line; where the screen is too small, so is an asset. The
    scheduler is asked as by any step that waits: once for all, and only when that is due. --json prints it once.
    """
    from dagster_hpc.cli.display import to_json

    ledger = open_ledger(url)
    if once or as_json or not sys.stdout.isatty():
        if ask:
            Asking(ledger).ask(ledger.jobs(live=True))
        view = _view(ledger, ledger.jobs(live=True), _ALL)
        click.echo(to_json(view.to_dict()) if as_json else _text(view))
        return
    poll = _Poll(ledger)
    if ask:
        threading.Thread(target=poll.go_on, args=(every,), daemon=True).start()
    _watch(ledger, every, poll)


class _Poll:
    """Asks the schedulers of what is shown, when that is due: beside the display, which a slow one is not to stop."""

    def __init__(self, ledger: Ledger) -> None:
        self.rows: list[JobRow] = []  # that are shown
        self.trouble = ""
        self._told: list[str] = []
        self._asking = Asking(ledger, self._told.append)

    def go_on(self, every_s: float) -> None:
        while True:
            self._told.clear()
            self._asking.ask(self.rows)
            self.trouble = " ".join(self._told)
            time.sleep(every_s)


def _view(ledger: Ledger, rows: Sequence[JobRow], most: int) -> LiveView:
    from dagster_hpc.usage.live import live_view

    arrays = {row.batch for row in rows if row.array_index is not None}
    return live_view(rows, ledger.ended_elements(sorted(arrays)), time.time(), most)


def _watch(ledger: Ledger, every_s: float, poll: _Poll) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with _keys() as pressed, Live(screen=True, auto_refresh=False) as live:
        while True:
            began = time.monotonic()
            room = max(3, shutil.get_terminal_size().lines - _HEAD)
            poll.rows = ledger.jobs(live=True)
            parts: list[RenderableType] = [_screen(_view(ledger, poll.rows, room))]
            parts.append(Text(poll.trouble, style="yellow") if poll.trouble else Text("q ends", style="dim"))
            live.update(Group(*parts), refresh=True)
            if pressed(max(every_s, _RELAX * (time.monotonic() - began))) in ("q", "Q"):
                return


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits for a key for so long: '' where none came. The terminal is given back as it was."""
    if not sys.stdin.isatty():
        yield _no_key
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield lambda seconds: sys.stdin.read(1) if select.select([sys.stdin], [], [], seconds)[0] else ""
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _no_key(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _summary(view: LiveView) -> str:
    from dagster_hpc.usage.words import count, hours

    states = ", ".join(f"{many} {state}" for state, many in view.states.items()) or "no job is under way"
    using = f"; {count(view.nodes, 'node')} in use" if view.nodes else ""
    return f"{states}{using}; {hours(view.node_hours)} node hours so far"


def _cells(view: LiveView) -> list[list[str]]:
    from dagster_hpc.engine.units import duration
    from dagster_hpc.usage.words import hours

    now = time.time()
    return [
        [
            line.token or f"{line.of} jobs",
            ", ".join(state if many == 1 else f"{many} {state}" for state, many in line.states.items()),
            line.target,
            line.name,
            _progress(line.over, line.of) if line.of > 1 else "",
            duration(now - line.since),
            hours(line.node_hours) if line.node_hours else "",
            line.reason,
        ]
        for line in view.lines
    ]


_HEADINGS = ("TOKEN", "STATE", "TARGET", "NAME", "DONE", "SINCE", "NODE HOURS", "REASON")
_FIGURES = ("SINCE", "NODE HOURS")


def _progress(over: int, of: int, width: int = 10) -> str:
    """`██████░░░░ 62/100`."""
    full = width * over // of
    return f"{'█' * full}{'░' * (width - full)} {over}/{of}"


def _text(view: LiveView) -> str:
    from dagster_hpc.cli.tables import printed

    words = [heading for heading in _HEADINGS if heading not in _FIGURES]
    return f"{_summary(view)}\n\n{printed(_HEADINGS, _cells(view), words=words)}" if view.lines else _summary(view)


def _screen(view: LiveView) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from dagster_hpc.cli.display import printable

    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for heading in _HEADINGS:
        takes_rest = heading in ("NAME", "REASON")
        figure = heading in _FIGURES
        table.add_column(
            heading, no_wrap=True, overflow="ellipsis", ratio=1 if takes_rest else None,
            justify="right" if figure else "left",
        )  # fmt: skip
    for cells in _cells(view):
        style = "cyan" if "RUNNING" in cells[1] else "yellow" if "HELD" in cells[1] else ""
        table.add_row(*(Text(printable(cell), style=style if number == 1 else "") for number, cell in enumerate(cells)))
    more = f"and {view.left_out} more lines" if view.left_out else ""
    head = Text(f"dagster-hpc  {time.strftime('%H:%M:%S')}  {_summary(view)}", style="bold")
    return Group(head, Text(), table, Text(more))
