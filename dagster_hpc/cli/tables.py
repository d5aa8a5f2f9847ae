"""A table as a terminal shows it, and as a pipe takes it: nothing is cut there."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_ENDLESS = 10_000  # the width of a pipe


def printed(headings: Sequence[str], lines: Sequence[Sequence[str]], *, words: Sequence[str] = ()) -> str:
    """The first column is a name, the others are figures, but for those whose headings are among `words`."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from dagster_hpc.cli.display import printable

    is_terminal = sys.stdout.isatty()
    console = Console(width=None if is_terminal else _ENDLESS)
    table = Table(box=SIMPLE_HEAD if is_terminal else None, pad_edge=False, header_style="bold", show_edge=False)
    for number, heading in enumerate(headings):
        figure = number > 0 and heading not in words
        table.add_column(heading, justify="right" if figure else "left", no_wrap=figure, overflow="fold")
    for line in lines:
        table.add_row(*(Text(printable(cell)) for cell in line))
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
