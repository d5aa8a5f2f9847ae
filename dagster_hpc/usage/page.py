"""A report as one page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files

from dagster_hpc.usage.figures import Usage
from dagster_hpc.usage.plots import bars, columns
from dagster_hpc.usage.report import UsageReport
from dagster_hpc.usage.words import count, duration, energy, hours, percent

_MOST_ROWS = 25  # in a table: the dearest


def page(report: UsageReport, ledger: str) -> str:
    """The HTML of this report."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {each.__name__: each for each in (count, day, duration, energy, hours, percent)}
    template = environment.from_string(files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        total=report.total,
        ledger=ledger,
        most=_MOST_ROWS,
        shares=_shares(report.total),
        over_time=columns(report.steps, report.step_s),
        causes=bars(dict(report.total.causes), "Failures by cause"),
    )


def _shares(usage: Usage) -> list[tuple[str, float | None, str]]:
    """What was used of what was asked for, in words for each bar."""
    told = {"walltime": "of the walltime asked for", "cores": "of the cores' time", "memory": "of the memory per node"}
    return [(name, share.ratio, f"{told[name]}, {count(share.jobs, 'job')}") for name, share in usage.shares.items()]


def day(at: float) -> str:
    return f"{datetime.fromtimestamp(at):%d %B %Y, %H:%M}"
