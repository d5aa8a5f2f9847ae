"""`dagster-hpc logs`: what a job prints, also while it runs."""

from __future__ import annotations

import posixpath
import sys
from typing import TYPE_CHECKING

import click

from dagster_hpc.cli.asking import warn
from dagster_hpc.cli.completion import complete_job
from dagster_hpc.cli.lookup import Ambiguous, NotFound, find_jobs, is_array, open_ledger, target_of

if TYPE_CHECKING:
    from dagster_hpc.engine.ledger import JobRow, Ledger

_CHUNK = 1 << 20


@click.command(short_help="Print a job's output, also while it runs.")
@click.argument("word", shell_complete=complete_job)
@click.option(
    "-f", "--follow", is_flag=True, help="Go on printing until the job is over; exit code 1 if it ends badly."
)
@click.option("--stderr", "only_stderr", is_flag=True, help="Only stderr.log, on stdout.")
@click.pass_obj
def logs(url: str | None, word: str, follow: bool, only_stderr: bool) -> None:
    """Print a job's output: stdout.log on stdout, stderr.log on stderr.

    WORD is its token, the first letters of that, or the scheduler's job id.
    """
    ledger = open_ledger(url)
    rows = find_jobs(ledger, word)
    if is_array(rows):
        raise Ambiguous(f"{word} is an array job; name one of its elements, as in {rows[0].token}")
    if follow and not rows[0].state.is_final:
        _follow(ledger, rows[0], only_stderr)
    else:
        _print_logs(rows[0], only_stderr)
        if follow and not rows[0].state.is_success:
            sys.exit(1)


def _follow(ledger: Ledger, row: JobRow, only_stderr: bool) -> None:
    from dagster_hpc.engine.job import JobHandle
    from dagster_hpc.engine.runner import Runner
    from dagster_hpc.engine.target import Listener

    def on_output(_: JobHandle, stream: str, line: str) -> None:
        if stream == "stderr" or not only_stderr:
            click.echo(line, err=stream == "stderr" and not only_stderr)

    listener = Listener(on_output=on_output, on_warning=warn)
    ended = Runner(target_of(row), ledger, listener).follow(row.handle(), listener)
    click.echo(f"{ended.token} is over: {ended.state}{f', {ended.reason}' if ended.reason else ''}", err=True)
    if not ended.state.is_success:
        sys.exit(1)


def _print_logs(row: JobRow, only_stderr: bool) -> None:
    from dagster_hpc.engine.script import STDERR, STDOUT

    target = target_of(row)
    host = target.host
    if host.size(row.work_dir) is None:
        raise NotFound(f"the directory of {row.token} is not there: {row.work_dir}")
    wrote = False
    stdout, stderr = (posixpath.join(row.work_dir, name) for name in (STDOUT, STDERR))
    said = target.scheduler.log_of(row.work_dir, row.array_index)
    for path in (stderr, said) if only_stderr else (stdout, stderr, said):
        out = (sys.stdout if only_stderr or path == stdout else sys.stderr).buffer
        offset = 0
        while chunk := host.read(path, offset, _CHUNK):
            out.write(chunk)
            offset += len(chunk)
        out.flush()
        wrote = wrote or offset > 0
    if not wrote:
        click.echo(f"{row.token} has written nothing; it is {row.state}", err=True)
