"""Jobs of the ledger as a person reads them on a terminal, and as a program reads them: JSON."""

from __future__ import annotations

import json
import math
import posixpath
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import click

from dagster_hpc.engine.job import JobState, RetryPlan
from dagster_hpc.engine.ledger import JobRow, Recipient
from dagster_hpc.engine.units import duration, format_walltime

_PLAIN = (
    "token", "job_id", "name", "state", "reason", "exit_code", "target", "cluster", "queue", "project", "work_dir",
    "asset_key", "partition_key", "run_id", "step_key", "batch", "array_index", "identity", "created_at", "updated_at",
    "collected_at", "delivered_at", "cancel_requested", "copies", "retry_number", "first_token", "next_token", "again_at",
)  # fmt: skip
_COLOURS = {
    JobState.COMPLETED: "green",
    JobState.RUNNING: "cyan",
    JobState.CANCELLED: "yellow",
    JobState.PREEMPTED: "yellow",
    JobState.HELD: "yellow",
    JobState.SUSPENDED: "yellow",
    JobState.UNKNOWN: "magenta",
}
_WIDE = 120  # columns of a terminal from which on the reasons fit into the table
_CANCELLING = "the scheduler is told until the job is gone"
_ENDLESS = 10_000  # the width of a pipe


def job_record(row: JobRow, *, owed: bool = False) -> dict[str, Any]:
    """All that the ledger keeps of a job; times are seconds since 1970, metrics carry their units in their names."""
    return {
        **{name: getattr(row, name) for name in _PLAIN},
        "state": row.state.value,
        "owed": owed,
        "scheduler": scheduler_kind(row),
        **_given(row),
        "outputs": {name: posixpath.join(row.work_dir, path) for name, path in row.outputs.items()},
        "metrics": _finite(row.metrics.to_dict()),
    }


def _given(row: JobRow) -> dict[str, Any]:
    """What it was given, and to whom; nothing of it is known of a job that an older version submitted."""
    plan = row.retry or RetryPlan()
    return {
        "profile": plan.profile or None,
        "user": plan.user or None,
        "walltime_s": plan.walltime_s or None,
        "memory_per_node_mib": plan.memory_mib,
    }


def job_line(row: JobRow, *, owed: bool = False) -> str:
    """The same as one line of JSON."""
    return json.dumps(job_record(row, owed=owed), allow_nan=False, ensure_ascii=False)


def job_table(rows: Sequence[JobRow], *, owed: Collection[str] = (), err: bool = False) -> str:
    """One line for each job, as wide as the terminal; in a pipe, as wide as the longest needs.

    `owed` are the tokens of those whose results nobody has received.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_terminal = (sys.stderr if err else sys.stdout).isatty()
    console = Console(stderr=err, width=None if is_terminal else _ENDLESS)
    with_reason = console.width >= _WIDE
    table = Table(box=SIMPLE_HEAD if is_terminal else None, pad_edge=False, header_style="bold", show_edge=False)
    for heading in ("TOKEN", "JOB", "STATE"):
        table.add_column(heading, no_wrap=True, overflow="ignore")
    for heading in ("TARGET", "NAME"):
        table.add_column(heading, overflow="fold", no_wrap=not is_terminal)
    for heading in ("SUBMITTED", "RAN"):
        table.add_column(heading, no_wrap=True, overflow="ignore", justify="right")
    if with_reason:
        table.add_column("REASON", overflow="fold")
    now = time.time()
    for row in rows:
        reason = [Text(printable(remark(row, owed=row.token in owed)))] if with_reason else []
        table.add_row(
            row.token,
            Text(row.job_id or "-"),
            Text(row.state.value, style=_colour(row.state)),
            Text(printable(row.target)),
            Text(printable(subject(row))),
            f"{duration(now - row.created_at)} ago",
            _ran(row, now),
            *reason,
        )
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def remark(row: JobRow, *, owed: bool = False) -> str:
    """Why the job is in its state, and what is still to happen with it."""
    waits = "waits in the ledger for room on its target" if row.state is JobState.READY else ""
    again = f"it goes on as {row.next_token}" if row.next_token else ""
    going = "is being cancelled" if row.cancel_requested and not row.state.is_final else ""
    result = "its result is owed" if owed else ""
    return "; ".join(part for part in (row.reason or waits, again, going, result) if part)


def job_page(row: JobRow, recipients: Sequence[Recipient] = ()) -> str:
    """Everything about one job, one fact a line; no line is cut or folded, so that paths can be copied.

    `recipients` are the steps of Dagster runs that its result was returned to.
    """
    m, given, now = row.metrics, row.retry or RetryPlan(), time.time()
    scheduler = scheduler_kind(row)
    code = "" if row.exit_code is None else f", exit code {row.exit_code}"
    place = [
        row.target,
        f"({scheduler})" if scheduler != row.target else "",
        f"queue {row.queue}" if row.queue else "",
        f"project {row.project}" if row.project else "",
        f"cluster {row.cluster}" if row.cluster else "",
    ]
    facts = {
        "reason": remark(replace(row, cancel_requested=False)),
        "attempt": _place_in_chain(row, now),
        "cancelled": f"asked for; {_CANCELLING}" if row.cancel_requested and not row.state.is_final else "",
        "result": _delivery(row, recipients, now),
        "token": row.token,
        "job id": row.job_id or "none yet" if not row.state.is_final else row.job_id or "none",
        "copies": f"also taken as {', '.join(row.copies)}; only the one that has the lock runs" if row.copies else "",
        "target": " ".join(part for part in place if part),
        "profile": given.profile,
        "asset": row.asset_key,
        "partition": row.partition_key,
        "run": row.run_id,
        "step": row.step_key,
        "directory": row.work_dir,
        "runs in": row.runs_in if row.runs_in != row.work_dir else "",
        "": None,
        "created": moment(row.created_at, now),
        "submitted": moment(m.submitted_at, now),
        "started": moment(m.started_at, now),
        "ended": moment(m.ended_at, now),
        "waited": _quantity(m.queue_wait_s, duration),
        "ran": _ran(row, now) if row.state is JobState.RUNNING else _quantity(m.elapsed_s, duration),
        "CPU time": _quantity(m.cpu_time_s, duration),
        "efficiency": _quantity(m.cpu_efficiency, lambda value: f"{value:.0%} of the cores' time"),
        "memory peak": _quantity(m.max_rss_mib, lambda value: f"{value:.1f} MiB"),
        "energy": _quantity(m.energy_j, lambda value: f"{value:.0f} J ({value / 3.6e6:.3g} kWh)"),
        "cost": _quantity(m.node_hours, lambda value: f"{value:.4g} node hours"),
        "size": _size(m.nodes, m.cores),
        "nodes": m.node_list,
        "walltime": format_walltime(given.walltime_s) if given.walltime_s else "",
        "memory": f"{given.memory_mib} MiB per node" if given.memory_mib else "",
    }
    lines = [click.style(printable(row.name), bold=True), f"  {'state':<12} {coloured(row.state)}{code}"]
    lines += [f"  {label:<12} {printable(value)}" for label, value in facts.items() if value]
    if row.outputs:
        lines.append("  outputs")
        lines += [f"    {name:<10} {posixpath.join(row.work_dir, path)}" for name, path in row.outputs.items()]
    return "\n".join(lines)


def attempt_table(rows: Sequence[JobRow]) -> str:
    """The attempts of one chain, in their order: with what each was tried, and how it ended."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_terminal = sys.stdout.isatty()
    console = Console(width=None if is_terminal else _ENDLESS)
    table = Table(box=SIMPLE_HEAD if is_terminal else None, pad_edge=False, header_style="bold", show_edge=False)
    for heading in ("ATTEMPT", "TOKEN", "JOB", "STATE", "WALLTIME", "MEMORY", "NODES", "RAN"):
        table.add_column(heading, no_wrap=True, overflow="ignore")
    table.add_column("REASON", overflow="fold")
    now = time.time()
    for row in rows:
        plan = row.retry or RetryPlan()
        table.add_row(
            str(row.retry_number + 1),
            row.token,
            Text(row.job_id or "-"),
            Text(row.state.value, style=_colour(row.state)),
            format_walltime(plan.walltime_s),
            "-" if plan.memory_mib is None else f"{plan.memory_mib} MiB",
            Text(printable(row.metrics.node_list or "-")),
            _ran(row, now),
            Text(printable(row.reason)),
        )
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _place_in_chain(row: JobRow, now: float) -> str:
    """Which of the attempts at one piece of work it is, and what comes next."""
    if not (row.retry and row.retry.has_rules) and not row.retry_number:
        return ""
    if row.again_at is not None:
        comes = f"; the next is due in {duration(row.again_at - now)}" if row.again_at > now else "; the next is due"
    else:
        comes = f"; the next is {row.next_token}" if row.next_token else ""
    return f"{row.retry_number + 1}{comes}"


def _delivery(row: JobRow, recipients: Sequence[Recipient], now: float) -> str:
    """Who has the result, or why the same work is not submitted again."""
    if row.delivered_at is not None:
        return f"delivered {moment(row.delivered_at, now)}"
    if row.held_identity is None or not row.is_over:
        return ""
    if row.state is JobState.LOST:
        return f"none; the same work is not submitted again before `dagster-hpc release {row.token}`"
    if not recipients:
        return "owed: nobody has received it, and the same request takes it"
    steps = ", ".join(f"step {one.step_key} of run {one.run_id}" for one in recipients)
    return f"returned to {steps}; received if that step succeeded"


def to_json(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)


def subject(row: JobRow) -> str:
    """What the job is for: its asset (and partition), else its own name."""
    if not row.asset_key:
        return row.name
    return row.asset_key + (f" [{row.partition_key}]" if row.partition_key else "")


def subject_of_many(names: Sequence[str], most: int = 2) -> str:
    """`energy, density and 3 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def scheduler_kind(row: JobRow) -> str:
    """`slurm`, `local`, …: also where it is one that this version does not know."""
    return str(json.loads(row.scheduler).get("kind", ""))


def coloured(state: JobState) -> str:
    return click.style(state.value, fg=_colour(state) or None)


def moment(at: float | None, now: float) -> str:
    """`2026-11-20 07:46:00 (3m05s ago)`, in local time."""
    if at is None:
        return ""
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S} ({duration(now - at)} ago)"


def printable(text: str) -> str:
    """Without what would move a terminal's cursor or change its colours."""
    return "".join(c if c.isprintable() else " " for c in text)


def _colour(state: JobState) -> str:
    return _COLOURS.get(state, "red" if state.is_final else "")


def _ran(row: JobRow, now: float) -> str:
    if row.metrics.elapsed_s is not None:
        return duration(row.metrics.elapsed_s)
    started = row.metrics.started_at
    return duration(now - started) if started and row.state is JobState.RUNNING else ""


def _quantity(value: float | None, words: Any) -> str:
    return "" if value is None else str(words(value))


def _size(nodes: int | None, cores: int | None) -> str:
    parts = [(nodes, "node"), (cores, "core")]
    return ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in parts if number is not None)


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
