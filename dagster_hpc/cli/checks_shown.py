"""Checks as a person reads them, each as it comes; and as a program reads them, all together."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable

import click

from dagster_hpc.checks.base import Check, Finding
from dagster_hpc.cli.display import printable, to_json

_LABELS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


def show_checks(checks: Iterable[tuple[str, Check]], *, as_json: bool, about: str, well: str) -> None:
    """Print checks, each with what it is about. The exit code is 1 if one failed.

    `about` and `well` are what JSON calls what a check is about, and whether none failed.
    """
    records: list[dict[str, str]] = []
    before = ""
    for subject, check in checks:
        finding = check.finding
        records.append({about: subject, "check": check.name, "level": finding.level, "sentence": finding.sentence,
                        "advice": finding.advice})  # fmt: skip
        if not as_json:
            if subject != before:
                click.secho(subject, bold=True)
            click.echo(_line(check.name, finding))
        before = subject
    levels = [record["level"] for record in records]
    if as_json:
        click.echo(to_json({well: "fail" not in levels, "checks": records}))
    else:
        click.echo(f"{len(levels)} checks: {levels.count('fail')} failed, {levels.count('warn')} with a warning")
    if "fail" in levels:
        sys.exit(1)


def _line(name: str, finding: Finding) -> str:
    """One check: folded under itself on a terminal, one line in a pipe."""
    label, colour = _LABELS[finding.level]
    what_to_do = f" To do: {finding.advice}" if finding.advice and finding.level != "ok" else ""
    stop = "." if what_to_do and not finding.sentence.endswith(("?", ".")) else ""
    text = f"{name}: {printable(finding.sentence)}{stop}{what_to_do}"
    if sys.stdout.isatty():
        text = click.wrap_text(text, width=shutil.get_terminal_size().columns - 8, subsequent_indent="  ")
        text = text.replace("\n", "\n" + " " * 8)
    return f"  {click.style(f'{label:<4}', fg=colour)}  {text}"
