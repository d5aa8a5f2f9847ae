"""`dagster-hpc explain`: why a job waits, or how it ended, and what could be changed."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from dagster_hpc.cli.asking import Asking, warn
from dagster_hpc.cli.completion import complete_job
from dagster_hpc.cli.lookup import find_jobs, is_array, open_ledger, target_of
from dagster_hpc.cli.options import ask_option, json_option
from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job import JobState, tail

if TYPE_CHECKING:
    from dagster_hpc.engine.ledger import JobRow, Ledger
    from dagster_hpc.engine.schedulers.base import Outlook
    from dagster_hpc.explain import Explanation, Facts

_LAST_LINES, _LAST_BYTES = 8, 8192
_WAITS = (JobState.PENDING, JobState.HELD, JobState.SUSPENDED)


@click.command(short_help="Say why a job waits or failed, and what to do.")
@click.argument("word", shell_complete=complete_job)
@ask_option
@json_option
@click.pass_obj
def explain(url: str | None, word: str, ask: bool, as_json: bool) -> None:
    """Say why a job waits, or how it ended, and what could be changed.

    WORD is its token, the first letters of that, or the scheduler's job id; of an array, elements that are in one state
    for one reason are explained together. The scheduler is asked when it expects a waiting job to start.
    """
    from dagster_hpc.cli.display import to_json

    ledger = open_ledger(url)
    rows = find_jobs(ledger, word)
    if ask and any(not row.state.is_final for row in rows):
        Asking(ledger).ask(rows[:1])
        rows = ledger.rows([row.token for row in rows])
    explained = [(some, *_explained(ledger, some, ask)) for some in _alike(rows)]
    if as_json:
        records = [_record(some, said) for some, _, said in explained]
        click.echo(to_json(records[0] if not is_array(rows) else {"batch": rows[0].batch, "elements": records}))
        return
    for number, (some, facts, said) in enumerate(explained):
        click.echo(("\n" if number else "") + _page(some, facts, said))


def _alike(rows: Sequence[JobRow]) -> list[list[JobRow]]:
    """Jobs of which one thing is to be said."""
    groups: dict[object, list[JobRow]] = {}
    for row in rows:
        groups.setdefault((row.state, row.reason, row.exit_code), []).append(row)
    return sorted(groups.values(), key=lambda some: (some[0].state.is_success, -len(some)))


def _explained(ledger: Ledger, rows: Sequence[JobRow], ask: bool) -> tuple[Facts, Explanation]:
    from dagster_hpc.engine.schedulers.base import Outlook
    from dagster_hpc.explain import Facts, explain

    row = rows[0]
    target = target_of(row)
    outlook = _outlook(row) if ask and row.state in _WAITS and row.job_id else Outlook()
    live = ledger.jobs(live=True, target=row.target) if row.state is JobState.READY else []
    before = {one.batch for one in live if one.state is JobState.READY and one.created_at < row.created_at}
    facts = Facts(
        row, target.scheduler.system, time.time(), outlook,
        before=len(before - {row.batch}),
        live=sum(one.state is not JobState.READY for one in live),
        stderr=_last_words(row) if row.state.is_final and not row.state.is_success else "",
    )  # fmt: skip
    return facts, explain(facts)


def _outlook(row: JobRow) -> Outlook:
    """What the scheduler says of this job alone; nothing where it does not answer."""
    from dagster_hpc.engine.cluster import identified
    from dagster_hpc.engine.schedulers.base import Outlook

    try:
        target = identified(target_of(row))  # the job of this number on another cluster is another job
        call = target.scheduler.outlook(row.job_id or "")
        return target.scheduler.read_outlook(target.host.run(call)) if call else Outlook()
    except FileNotFoundError as error:
        warn(f"the scheduler cannot be asked from here: {error}")
    except HPCError as error:
        warn(str(error))
    return Outlook()


def _last_words(row: JobRow) -> str:
    """The end of its stderr; its directory may be gone, or not be seen from here."""
    from dagster_hpc.engine.jobdir import STDERR

    path, host = posixpath.join(row.work_dir, STDERR), target_of(row).host
    try:
        size = host.size(path) or 0
        text = host.read(path, max(0, size - _LAST_BYTES), _LAST_BYTES) or b""
    except OSError:
        return ""
    return tail(text.decode("utf-8", "replace"), _LAST_LINES)


def _record(rows: Sequence[JobRow], said: Explanation) -> dict[str, Any]:
    row = rows[0]
    several = {"tokens": [one.token for one in rows]} if len(rows) > 1 else {}
    return {
        "token": row.token,
        **several,
        "job_id": row.job_id,
        "state": row.state.value,
        "reason": row.reason,
        **said.to_dict(),
    }


def _page(rows: Sequence[JobRow], facts: Facts, said: Explanation) -> str:
    """One thing a line, and no line cut: commands in it are to be copied."""
    from dagster_hpc.cli.display import coloured, moment, printable, subject
    from dagster_hpc.engine.units import duration

    row = rows[0]
    many = f" and {len(rows) - 1} more like it" if len(rows) > 1 else ""
    place = f"job {row.job_id} on {row.target}" if row.job_id else f"on {row.target}"
    since = "" if row.state.is_final else f", asked for {duration(facts.now - row.created_at)} ago"
    title = click.style(printable(subject(row)), bold=True)
    lines = [f"{title}: {coloured(row.state)} ({row.token}, {place}{since}){many}", f"  {printable(said.summary)}"]
    lines += [f"  {printable(detail)}" for detail in said.details]
    if said.starts_at is not None and said.starts_at > facts.now:
        inside = duration(said.starts_at - facts.now)
        lines.append(f"  The scheduler expects to start it in {inside}, at {moment(said.starts_at, facts.now)[:19]}.")
    if said.words:
        head = "The last lines of its stderr:" if row.state.is_final else "The scheduler's own words:"
        lines += [f"  {head}", *(f"    {printable(words)}" for words in said.words)]
    if said.remedies:
        lines += ["  What you can do:", *(f"    - {printable(remedy)}" for remedy in said.remedies)]
    return "\n".join(lines)
