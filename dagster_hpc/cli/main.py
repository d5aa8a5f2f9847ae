"""`dagster-hpc`: the jobs that Dagster has submitted, for somebody at a terminal.

`jobs`, `show`, `logs` and `cancel` read the ledger and start quickly: they import neither Dagster nor what it needs.
`render`, `doctor` and `dag` look at a code location, and import it.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from dagster_hpc.cli.adopt import adopt
from dagster_hpc.cli.advise import advise
from dagster_hpc.cli.asking import Asking, warn
from dagster_hpc.cli.completion import complete_job, completion
from dagster_hpc.cli.dag import dag
from dagster_hpc.cli.explain import explain
from dagster_hpc.cli.lookup import (
    Ambiguous,
    NotFound,
    Stop,
    by_target,
    find_jobs,
    is_array,
    open_ledger,
    owed,
    target_of,
)
from dagster_hpc.cli.options import Filter, filter_options, json_option, module_option
from dagster_hpc.cli.prune import prune
from dagster_hpc.cli.release import release
from dagster_hpc.cli.report import report
from dagster_hpc.cli.retry import retry
from dagster_hpc.cli.runs import runs
from dagster_hpc.cli.site import site
from dagster_hpc.cli.tell import tell
from dagster_hpc.cli.top import top
from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job import JobState
from dagster_hpc.version import __version__

if TYPE_CHECKING:
    from dagster_hpc.checks.base import Check
    from dagster_hpc.engine.ledger import JobRow, Ledger

_INTERRUPTED = 130
_CHUNK = 1 << 20


class _Commands(click.Group):
    """A known error is a text and an exit code, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except HPCError as error:
            raise Stop(str(error)) from error
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all well; 1 it failed, or something is not healthy; 2 wrong usage, or a WORD that means "
    "several jobs; 3 no such job.",
)
@click.version_option(__version__, prog_name="dagster-hpc")
@click.option(
    "--ledger",
    metavar="URL",
    help="The database of jobs: a file, or a URL as in postgresql://… (default: DAGSTER_HPC_LEDGER, else a file in "
    "DAGSTER_HOME, else one in ~/.local/state/dagster_hpc).",
)
@click.pass_context
def main(ctx: click.Context, ledger: str | None) -> None:
    """Batch jobs that Dagster runs: list them, look into them, cancel them, check the set-up.

    Each job was submitted with a script of its own (sbatch on Slurm) by a step of a Dagster run, and is kept in a
    ledger: its token, its job id, its directory, its state, what it cost. These commands read that ledger, from any
    shell on the machine where Dagster runs.
    """
    ctx.obj = ledger if ledger is None or "://" in ledger else f"sqlite:///{ledger}"


# ---------------------------------------------------------------- jobs of the ledger


@main.command()
@filter_options
@click.option("--limit", type=click.IntRange(min=1), default=30, show_default=True, help="At most so many jobs.")
@click.option("--refresh", is_flag=True, help="First ask the schedulers once for all live jobs, as squeue would.")
@json_option
@click.pass_obj
def jobs(url: str | None, /, limit: int, refresh: bool, as_json: bool, **filters: Any) -> None:
    """List jobs, newest first.

    The states are those that were last seen: by the Dagster step that waits for the job, or by --refresh.
    """
    from dagster_hpc.cli.display import job_record, job_table, to_json

    try:
        ledger = open_ledger(url)
    except NotFound as nothing_yet:
        click.echo(nothing_yet.message, err=True)
        if as_json:
            click.echo("[]")
        return
    if refresh:
        Asking(ledger).ask([*ledger.jobs(live=True), *ledger.steps_without_figures()], now=True)
    rows = Filter(**filters).choose(ledger, limit + 1)
    more, rows = len(rows) > limit, rows[:limit]
    unreceived = owed(ledger, rows)
    if as_json:
        click.echo(to_json([job_record(row, owed=row.token in unreceived) for row in rows]))
        return
    if rows:
        click.echo(job_table(rows, owed=unreceived))
    else:
        click.echo(f"no such jobs in the ledger {ledger.public_url}", err=True)
    if more:
        click.echo(f"the newest {limit}; --limit shows more", err=True)


@main.command()
@filter_options
@click.pass_obj
def export(url: str | None, /, **filters: Any) -> None:
    """Print jobs as JSON lines, one for each, the oldest first: for other programs, and for safe keeping."""
    from dagster_hpc.cli.display import job_line

    ledger = open_ledger(url)
    rows = Filter(**filters).choose(ledger)
    unreceived = owed(ledger, rows)
    for row in reversed(rows):
        click.echo(job_line(row, owed=row.token in unreceived))


@main.command()
@click.argument("word", shell_complete=complete_job)
@click.option("--script", is_flag=True, help="Print its job script, as it was submitted, and nothing else.")
@json_option
@click.pass_obj
def show(url: str | None, word: str, script: bool, as_json: bool) -> None:
    """Show everything about one job.

    WORD is its token as `dagster-hpc jobs` lists it, the first letters of that, or the scheduler's job id.
    """
    from dagster_hpc.cli.display import attempt_table, job_page, job_record, job_table, to_json

    ledger = open_ledger(url)
    rows = find_jobs(ledger, word)
    unreceived = owed(ledger, rows)
    attempts = ledger.attempts([rows[0].chain])[rows[0].chain] if len(rows) == 1 else []
    if script:
        click.echo(_script(rows[0]), nl=False)
    elif is_array(rows):
        if as_json:
            elements = [job_record(row, owed=row.token in unreceived) for row in rows]
            click.echo(to_json({"batch": rows[0].batch, "elements": elements}))
        else:
            click.echo(f"array job {rows[0].batch} with {len(rows)} elements")
            click.echo(job_table(rows, owed=unreceived))
    elif as_json:
        chain = {"attempts": [job_record(row) for row in attempts]} if len(attempts) > 1 else {}
        click.echo(to_json({**job_record(rows[0], owed=bool(unreceived)), **chain}))
    else:
        click.echo(job_page(rows[0], ledger.deliveries.recipients(rows[0].token)))
        if len(attempts) > 1:
            click.echo(f"\n{attempt_table(attempts)}")


@main.command()
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


@main.command()
@click.argument("words", nargs=-1, required=True, metavar="WORD…", shell_complete=complete_job)
@json_option
@click.pass_obj
def cancel(url: str | None, words: tuple[str, ...], as_json: bool) -> None:
    """Cancel jobs, as scancel would, and say what became of them.

    WORD is a token, the first letters of one, or a scheduler's job id; that of an array means all its elements. Any
    of several attempts at one piece of work means the last: it ends, and no further one is made. Nothing is cancelled
    unless each WORD is known and means one job only. A job that is over stays as it is.
    """
    from dagster_hpc.cli.display import to_json

    ledger = open_ledger(url)
    meant = [row.token for word in words for row in find_jobs(ledger, word)]
    rows = {row.token: row for row in ledger.last_attempts(meant).values()}
    refused = _cancel(ledger, [row for row in rows.values() if not row.is_over])
    reports = []
    for was in rows.values():
        now = ledger.job(was.token)
        reports.append({**_outcome(was, now, refused.get(was.token, "")), "reason": now.reason})
    if as_json:
        click.echo(to_json(reports))
    else:
        for report in reports:
            click.echo(f"{report['token']} (job {report['job_id'] or 'not submitted'}): {report['outcome']}")
    if refused:
        sys.exit(1)


def _outcome(was: JobRow, now: JobRow, refusal: str) -> dict[str, Any]:
    if was.is_over:
        outcome = f"was over already: {was.state}"
    elif refusal:
        outcome = f"not cancelled: {refusal}"
    elif was.state.is_final:
        outcome = f"had ended as {was.state}; it is not tried again"
    elif now.state.is_final:
        outcome = "cancelled" if now.state is JobState.CANCELLED else f"ended meanwhile as {now.state}"
    else:
        outcome = f"told to stop; still {now.state} when last seen"
    return {
        "token": now.token,
        "job_id": now.job_id,
        "was": was.state.value,
        "state": now.state.value,
        "cancelled": now.state is JobState.CANCELLED and not was.state.is_final,
        "outcome": outcome,
    }


def _cancel(ledger: Ledger, rows: Sequence[JobRow]) -> dict[str, str]:
    """Cancel these jobs, all of one target together; the tokens of those that could not be told, with the reason."""
    from dagster_hpc.engine.runner import Runner

    refused: dict[str, str] = {}
    for some in by_target(rows).values():
        try:
            Runner(target_of(some[0]), ledger).cancel([row.handle() for row in some])
        except HPCError as error:
            refused |= {row.token: str(error) for row in some}
    return refused


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


def _script(row: JobRow) -> str:
    from dagster_hpc.engine.collect import read_script

    text = read_script(row, target_of(row).host)
    if not text:
        raise NotFound(f"the script of {row.token} is no longer in {row.work_dir}")
    return text


main.add_command(top)
main.add_command(explain)
main.add_command(report)
main.add_command(advise)
main.add_command(runs)
main.add_command(retry)


# ---------------------------------------------------------------- care of the ledger


main.add_command(release)
main.add_command(adopt)
main.add_command(prune)
main.add_command(completion)


# ---------------------------------------------------------------- the site's files


main.add_command(site)


# ---------------------------------------------------------------- inside a job


main.add_command(tell)


# ---------------------------------------------------------------- resources of a code location


main.add_command(dag)


@main.command()
@click.argument("executable")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--profile", required=True, metavar="NAME", help="Execution profile of the runner.")
@click.option("--override", "overrides", multiple=True, metavar="FIELD=VALUE", help="As in walltime=00:10:00.")
@click.option("--runner", default="hpc", show_default=True, metavar="KEY", help="Resource key of the HPCJobRunner.")
@module_option
def render(
    executable: str,
    arguments: tuple[str, ...],
    profile: str,
    overrides: tuple[str, ...],
    runner: str,
    module: str | None,
) -> None:
    """Print the very script that would be submitted, and submit nothing.

    EXECUTABLE is a key of the target's executable_map, or an absolute path; its ARGUMENTS follow it. Put -- before it
    where they have options of their own:

        dagster-hpc render --profile mpi-16 --override walltime=00:10:00 -- bitcount --input samples.txt
    """
    from dagster_hpc.cli.code_location import open_runners, read_overrides
    from dagster_hpc.resources.command import Command

    with open_runners(module, runner) as runners:
        command = Command(executable, args=arguments)
        click.echo(runners[runner].render(command, profile=profile, overrides=read_overrides(overrides)), nl=False)


@main.command()
@click.option("--runner", metavar="KEY", help="Only this HPCJobRunner (default: all of the code location).")
@module_option
@click.option(
    "--target",
    metavar="KIND",
    help="No code location: check a target of this kind with its defaults: local, slurm, pbs, miyabi, gadi, "
    "torque, pjm, fugaku, lsf, sge or flux.",
)
@click.option("--work-root", metavar="DIR", help="With --target: the folder for the jobs' directories.")
@json_option
@click.pass_obj
def doctor(
    url: str | None, runner: str | None, module: str | None, target: str | None, work_root: str | None, as_json: bool
) -> None:
    """Check whether jobs can be run from here: scheduler, accounting, queues, folders, ledger, clocks, programs.

    Each line says ok, warn or FAIL, and then what to do. The exit code is 1 if a check failed; warnings are none.
    """
    if (target is None) != (work_root is None) or (target and (module or runner)):
        raise click.UsageError("give --target with --work-root, or a code location (--module, --runner), or nothing.")
    from dagster_hpc.cli.display import check_line, to_json

    records: list[dict[str, str]] = []
    for name, check in _checks(url, runner, module, target, work_root):
        finding = check.finding
        if not as_json:
            if name not in {record["runner"] for record in records}:
                click.secho(name, bold=True)
            click.echo(check_line(check.name, finding))
        record = {"level": finding.level, "sentence": finding.sentence, "advice": finding.advice}
        records.append({"runner": name, "check": check.name, **record})
    levels = [record["level"] for record in records]
    if as_json:
        click.echo(to_json({"healthy": "fail" not in levels, "checks": records}))
    else:
        click.echo(f"{len(levels)} checks: {levels.count('fail')} failed, {levels.count('warn')} with a warning")
    if "fail" in levels:
        sys.exit(1)


def _checks(
    url: str | None, runner: str | None, module: str | None, target: str | None, work_root: str | None
) -> Iterator[tuple[str, Check]]:
    """All checks of all runners that are meant, each with the name of its runner."""
    from dagster_hpc.checks.base import Check, Finding
    from dagster_hpc.cli.code_location import executors, make_runner, open_runners
    from dagster_hpc.cli.doctor import examine, examine_steps

    with ExitStack() as stack:
        try:
            if target and work_root:
                runners = {target: make_runner(target, work_root)}
            else:
                runners = stack.enter_context(open_runners(module, runner))
        except HPCError as error:
            yield "code location", Check("runner", Finding("fail", error.message, error.advice))
            return
        for name, hpc in runners.items():
            for check in examine(hpc, url):
                yield name, check
        for name, executor in executors(module).items() if target is None else ():
            for check in examine_steps(executor):
                yield f"steps_of_{name}", check
