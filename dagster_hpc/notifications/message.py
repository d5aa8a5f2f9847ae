"""What people read: what happened to a job, how, why, and what they can do. Pure: text from values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dagster_hpc.engine.job import JobResult
from dagster_hpc.engine.job.result import failure_of
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.units import duration, format_walltime
from dagster_hpc.notifications.occasions import Kind, Occasion, ran_s, waited_s
from dagster_hpc.shown_text import masked, readable, shortened

_LINES, _LONGEST_LINE = 15, 200
_ELEMENTS, _LISTED = 10, 50  # of an array, and of a summary
_LONGEST_REASON = 500


@dataclass(frozen=True)
class Message:
    """One message, ready to be sent by any channel."""

    kind: str  # one of `on`, or "summary"
    subject: str
    text: str
    key: str  # the same for the same message: a mail that comes twice has one Message-ID
    token: str = ""


def message_of(
    occasion: Occasion, *, printed: tuple[str, str] = ("", ""), now: float, webserver_url: str | None = None
) -> Message:
    """The message for one occasion. `printed`: the ends of stdout and stderr of its job, or of its first bad element."""
    row = occasion.job.first
    stdout, stderr = printed
    parts = [
        f"{_title(occasion, now)}.",
        _facts(occasion, now, webserver_url),
        _elements(occasion),
        _ending("stderr", stderr),
        _ending("stdout", stdout),
        _advice(occasion, row),
        f"More: dagster-hpc show {occasion.job.token}",
    ]
    text = "\n\n".join(part for part in parts if part)
    return Message(occasion.kind, subject_of(occasion, now), text, occasion.key, occasion.job.token)


def summary_of(occasions: Sequence[Occasion], now: float) -> Message:
    """One message for many occasions: after an outage, or where all fails at once."""
    counts = Counter(occasion.kind for occasion in occasions)
    said = ", ".join(f"{count} {_WORDS[kind]}" for kind, count in counts.items())
    lines = [f"{subject_of(one, now)}: dagster-hpc show {one.job.token}" for one in occasions[:_LISTED]]
    if len(occasions) > _LISTED:
        lines.append(f"and {len(occasions) - _LISTED} more: dagster-hpc jobs")
    keys = " ".join(occasion.key for occasion in occasions)
    return Message("summary", f"HPC jobs: {said}", "\n".join(lines), keys)


def subject_of(occasion: Occasion, now: float) -> str:
    """One line: a mail's subject, a push message's title."""
    target = occasion.job.first.target.partition("@")[0]
    return " ".join(readable(f"[{target}] {_title(occasion, now)}").split())


_WORDS: dict[Kind, str] = {
    "failed": "failed",
    "succeeded": "ended well",
    "stuck": "cannot start",
    "near_walltime": "near the end of their walltime",
    "late": "late",
}


def _title(occasion: Occasion, now: float) -> str:
    job, row = occasion.job, occasion.job.first
    name = _name(occasion)
    if occasion.kind == "succeeded":
        return f"{name} ended well" if not job.is_array else f"{name}: all {len(job.rows)} elements ended well"
    if occasion.kind == "failed":
        if job.is_array:
            bad = sum(not one.state.is_success for one in job.rows)
            return f"{name}: {bad} of {len(job.rows)} elements ended badly"
        code = "" if row.exit_code is None else f", exit code {row.exit_code}"
        return f"{name} ended as {row.state}{code}"
    several = f" ({len(job.rows)} elements)" if job.is_array else ""
    if occasion.kind == "stuck":
        return f"{name} cannot start{several}"
    if occasion.kind == "near_walltime":
        left = row.given.walltime_s - ran_s(row, now)
        when = f"in {duration(left)}" if left > 0 else "now"
        return f"{name} comes to the end of its walltime {when}{several}"
    waited = duration(waited_s(row, now))
    return f"{name} {'has waited' if row.metrics.started_at is None else 'began after it had waited'} {waited}{several}"


def _name(occasion: Occasion) -> str:
    job = occasion.job
    keys = job.partition_keys
    partition = f" [{keys[0]}]" if len(keys) == 1 and not job.is_array else ""
    return f"{job.asset_key or job.name}{partition}"


def _facts(occasion: Occasion, now: float, webserver_url: str | None) -> str:
    job, row = occasion.job, occasion.job.first
    m = row.metrics
    place = [row.target, f"queue {row.queue}" if row.queue else "", f"project {row.project}" if row.project else ""]
    limit = f" of {format_walltime(row.given.walltime_s)}" if row.given.walltime_s else ""
    elapsed = m.elapsed_s if row.state.is_final else ran_s(row, now)
    ran = f"{duration(elapsed)}{limit}" if elapsed is not None and m.started_at is not None else ""
    facts = {
        "Why": shortened(masked(readable(row.reason)), _LONGEST_REASON),
        "Job": f"{row.job_id or 'not submitted'} on {', '.join(part for part in place if part)}",
        "Waited": duration(waited_s(row, now)) if m.started_at is not None or not row.state.is_final else "",
        "Ran": ran,
        "Memory": f"{m.max_rss_mib:.0f} MiB at most" if m.max_rss_mib is not None else "",
        "Nodes": shortened(m.node_list or "", _LONGEST_LINE),
        "Until": _clock(m.started_at + row.given.walltime_s) if occasion.kind == "near_walltime" and m.started_at else "",
        "Asset": job.asset_key or "",
        "Partition": ", ".join(job.partition_keys) if len(job.partition_keys) <= 3 else "",
        "Run": _run(row, webserver_url),
        "Directory": job.work_dir,
    }
    return "\n".join(f"{label:<11}{value}" for label, value in facts.items() if value)


def _run(row: JobRow, webserver_url: str | None) -> str:
    if not row.run_id or not webserver_url:
        return row.run_id or ""
    return f"{webserver_url.rstrip('/')}/runs/{row.run_id}"


def _elements(occasion: Occasion) -> str:
    """Of an array those that ended badly, or that it is about."""
    job = occasion.job
    if not job.is_array or occasion.kind == "succeeded":
        return ""
    some = [row for row in job.rows if not row.state.is_success]
    lines = [
        f"  {row.partition_key or row.array_index}: {row.state} {shortened(masked(readable(row.reason)), _LONGEST_LINE)}"
        for row in some[:_ELEMENTS]
    ]
    more = [f"  and {len(some) - _ELEMENTS} more"] if len(some) > _ELEMENTS else []
    return "\n".join(["Elements", *lines, *more])


def _ending(stream: str, printed: str) -> str:
    lines = masked(readable(printed)).strip("\n").splitlines()[-_LINES:]
    shown = "\n".join(f"  {shortened(line, _LONGEST_LINE)}" for line in lines)
    return f"Last lines of {stream}\n{shown}" if shown.strip() else ""


def _advice(occasion: Occasion, row: JobRow) -> str:
    return "" if occasion.kind == "succeeded" else f"What to do: {_what_to_do(occasion, row)}"


def _what_to_do(occasion: Occasion, row: JobRow) -> str:
    token = occasion.job.token
    if occasion.kind == "stuck":
        return f"change what it asks for and run it again; `dagster-hpc cancel {token}` takes this one out of the queue."
    if occasion.kind == "near_walltime":
        return (
            "what is not finished by then is lost, unless the program writes checkpoints. Ask the site to extend this job, "
            "or give the next one a longer walltime (overrides={'walltime': …}), a retry rule, or resume=."
        )
    if occasion.kind == "late":
        return "nothing, if you can wait. A shorter walltime, fewer nodes or another queue may start sooner."
    return failure_of(JobResult(row.handle(), row.state, missing=row.missing)).advice


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M %Z")
