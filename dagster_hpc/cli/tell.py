"""`dagster-hpc tell`: a shell command by which a job reports to Dagster, where its program can import nothing.

Each call appends one whole line to the job's messages, by one write, so that several processes may report at once. A
line stands for itself: nobody has to open or close anything.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any

import click

from dagster_hpc.cli.lookup import Stop
from dagster_hpc.engine import jobdir

_VERSION = {"__dagster_pipes_version": "0.1"}
_LEVELS = ("debug", "info", "warning", "error", "critical")
_WORDS = {"true": True, "false": False}

asset_option = click.option(
    "--asset", metavar="KEY", help="Of which asset, as in energy or site/energy; default: the only one of the step."
)
metadata_argument = click.argument("metadata", nargs=-1, metavar="[NAME=VALUE]…")
path_option = click.option(
    "--path", "paths", multiple=True, metavar="[NAME=]FILE", help="A file, as metadata under this name (default: path)."
)
text_option = click.option(
    "--text", "texts", multiple=True, metavar="NAME=TEXT", help="Text, also where it looks like a number."
)


@click.group()
def tell() -> None:
    """Tell Dagster from inside a job: results, checks, log messages.

    It works in jobs that an asset runs through PipesHPCClient, on any node. Values become numbers, true or false, JSON
    objects and lists, or text, by what they look like.
    """


@tell.command()
@metadata_argument
@path_option
@text_option
@click.option("--data-version", metavar="TEXT", help="What is equal as long as the data are.")
@asset_option
def materialization(
    metadata: Sequence[str], paths: Sequence[str], texts: Sequence[str], data_version: str | None, asset: str | None
) -> None:
    """Report that the asset is made, with metadata.

    Said again, it adds to what was said before:

        dagster-hpc tell materialization energy=-1.1 --path density=density.cube
    """
    values = _metadata(metadata, paths, texts)
    _append("report_asset_materialization", asset_key=asset, metadata=values, data_version=data_version)


@tell.command()
@click.argument("name")
@click.option("--passed/--failed", default=None, help="How the check came out.")
@click.option("--warn", is_flag=True, help="A failure is a warning, not an error.")
@metadata_argument
@path_option
@text_option
@asset_option
def check(
    name: str,
    passed: bool | None,
    warn: bool,
    metadata: Sequence[str],
    paths: Sequence[str],
    texts: Sequence[str],
    asset: str | None,
) -> None:
    """Report how an asset check came out.

    As in:

        dagster-hpc tell check converged --passed residual=1e-9
    """
    if passed is None:
        raise click.UsageError("say --passed or --failed.")
    severity, values = "WARN" if warn else "ERROR", _metadata(metadata, paths, texts)
    _append("report_asset_check", asset_key=asset, check_name=name, passed=passed, severity=severity, metadata=values)


@tell.command()
@click.argument("message")
@click.option("--level", type=click.Choice(_LEVELS), default="info", show_default=True)
def log(message: str, level: str) -> None:
    """Write a line into the log of the Dagster run, while the job goes on."""
    _append("log", message=message, level=level.upper())


@tell.command()
@click.argument("value", metavar="JSON")
def custom(value: str) -> None:
    """Hand a JSON value to the asset, which finds it by get_custom_messages()."""
    try:
        payload = json.loads(value)
    except ValueError as error:
        raise click.UsageError(f"{value!r} is no JSON: {error}") from error
    _append("report_custom_message", payload=payload)


def _append(method: str, **params: Any) -> None:
    """Add one line to the job's messages."""
    path = os.environ.get(jobdir.PIPES_VARIABLE)
    if not path:
        raise Stop(
            f"this is no job that reports to Dagster: {jobdir.PIPES_VARIABLE} is not set. Run it inside a job that an "
            "asset runs through PipesHPCClient"
        )
    given = {name: value for name, value in params.items() if value is not None}
    line = json.dumps({**_VERSION, "method": method, "params": given}).encode() + b"\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            written = os.write(descriptor, line)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Stop(f"the job's messages cannot be written: {error}") from error
    if written < len(line):
        raise Stop(f"only a part of the message could be written to {path}: is the disk full?")


def _metadata(words: Sequence[str], paths: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    values = dict(_value(*_pair(word)) for word in words)
    for word in texts:
        name, text = _pair(word)
        values[name] = _typed(text, "text")
    for word in paths:
        name, equals, file = word.rpartition("=")
        values[name if equals else "path"] = _typed(os.path.abspath(file), "path")
    return values


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{word!r} is to be NAME=VALUE")
    return name, value


def _value(name: str, text: str) -> tuple[str, dict[str, Any]]:
    """`-1.1` is a number, `[1, 2]` a list, `1e-9 Hartree` a text."""
    if text in _WORDS:
        return name, _typed(_WORDS[text], "bool")
    for kind, read in (("int", int), ("float", float)):
        try:
            number = read(text)
        except ValueError:
            continue
        return name, _typed(number, kind) if math.isfinite(number) else _typed(None, "null")
    if text.startswith(("{", "[")):
        try:
            return name, _typed(json.loads(text), "json")
        except ValueError:
            pass
    return name, _typed(text, "text")


def _typed(value: Any, kind: str) -> dict[str, Any]:
    return {"raw_value": value, "type": kind}
