"""Reporting jobs that no run waits for: once each, by whoever comes by when they are over.

Two stores cannot be written in one transaction, so it goes in three steps: the ledger says that the report is begun, the
event log gets it, the ledger says that it is done. Whoever finds one that was begun and is not done asks the event log
first. A report has one owner at a time, as a submission has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import groupby
from typing import Protocol

from dagster_hpc.engine.collect import collect, outputs_may_come
from dagster_hpc.engine.errors import LedgerError, SchedulerUnavailable
from dagster_hpc.engine.hosts.base import Host
from dagster_hpc.engine.job import JobResult
from dagster_hpc.engine.ledger import JobRow, Recipient, Report
from dagster_hpc.engine.observe.logs import LogFollower
from dagster_hpc.engine.process import new_owner, process_lives
from dagster_hpc.engine.target import Listener
from dagster_hpc.engine.workplace import Workplace

_TAKEN = "somebody else reports it"


class Standing(Enum):
    """What a log of events says of a step."""

    RECEIVED = "it has succeeded"
    UNDER_WAY = "its run goes on"
    OVER = "its run is over, and it has not succeeded"
    UNKNOWN = "there is no such run"


class Event(Protocol):
    """One thing that is said in a report."""

    def is_told(self) -> bool: ...

    def tell(self) -> None: ...


@dataclass(frozen=True)
class Ended:
    """The jobs of a report, and what they printed."""

    rows: Sequence[JobRow]
    results: Sequence[JobResult]
    host: Host
    conceal: Callable[[str], str]

    def pass_on(self, listener: Listener) -> None:
        """Hand all lines of their logs on; of a very long log the last ones."""
        for row in self.rows:
            LogFollower(self.host, row, listener, self.conceal).finish()


@dataclass(frozen=True)
class Account:
    """All that is to be said of jobs that are over. `delivers`: their results are received thereby."""

    outcome: str
    events: Sequence[Event]
    delivers: bool = True


class Addressee(Protocol):
    """Who gets the reports: Dagster, or what stands for it in a simulation."""

    deployment: str

    def standing(self, step: Recipient, report: Report) -> Standing:
        """How far the step has come with what the report is about."""

    def refusal(self, report: Report) -> str:
        """Why it can take no report of this just now; '' if it can."""

    def account(self, report: Report, ended: Ended, *, again: bool) -> Account:
        """All that is to be said. `again`: somebody began to say it before."""


@dataclass
class Reported:
    """What became of the reports that were looked at."""

    outcomes: dict[str, str] = field(default_factory=dict)  # of those that are done now
    left: dict[str, str] = field(default_factory=dict)  # why the others are not
    live: int = 0  # reports whose jobs are not over


def report_all(addressee: Addressee, work: Workplace, *, within_s: float) -> Reported:
    """Report what is over, for no longer than so many seconds: the rest is there at the next call."""
    deadline = work.clock.monotonic() + within_s
    due, live = work.ledger.reports.due(work.target.key, addressee.deployment)
    said = Reported(live=live)
    for report in due:
        if work.clock.monotonic() >= deadline:
            said.left[report.report] = "it is reported at the next look"
            continue
        outcome, why = _report(report, addressee, work)
        (said.outcomes if outcome else said.left)[report.report] = outcome or why
    return said


def reports_of(rows: Iterable[JobRow], deployment: str) -> list[Report]:
    """What a step would have told of its jobs, for each partition. Where some are missing it would be wrong to say it."""
    rows = sorted(rows, key=lambda row: (row.partition_key or "", row.created_at, row.array_index or 0))
    reports = []
    for _, group in groupby(rows, key=lambda row: row.partition_key):
        last = {row.identity or row.chain: row for row in group}  # of the same work the last attempt, at its first place
        jobs = list(last.values())
        if len(jobs) == jobs[0].together and any(_is_open(row) for row in jobs):
            reports.append(_owed_for(jobs, deployment))
    return reports


def _owed_for(jobs: Sequence[JobRow], deployment: str) -> Report:
    first = jobs[0]
    return Report(
        tokens=tuple(row.token for row in jobs),
        single=first.together == 1,
        target=first.target,
        deployment=deployment,
        asset_key=first.asset_key or "",
        partition_key=first.partition_key,
        run_id=first.run_id or "",
        step_key=first.step_key or "",
    )


def _is_open(row: JobRow) -> bool:
    """Whether it is live, or has a result that nobody has received."""
    return not row.is_over or (row.state.is_success and row.held_identity is not None)


def _report(report: Report, addressee: Addressee, work: Workplace) -> tuple[str, str]:
    """Its outcome; or why it stays open."""
    rows = _ends(report, work)
    if len(rows) < len(report.tokens):
        work.ledger.reports.done(report, "forgotten")  # `prune` removed a job that was over before it was reported
        return "forgotten", ""
    if not all(row.is_over for row in rows):
        return "", "its job is under way again"
    if why := addressee.refusal(report) or _left_to_others(report, rows, addressee, work):
        return "", why
    if report.begun_at is None and (receiver := _receiver(report, rows, addressee, work)):
        return _received_by(receiver, report, work), ""
    if any(outputs_may_come(row, work) for row in rows):
        return "", "its outputs are not to be seen yet"
    if not _is_free(report, work):
        return "", _TAKEN
    owner = new_owner()
    try:
        if not work.ledger.reports.begin(report, owner):
            return "", _TAKEN
        work.clock.point("report: after the claim")
        return _tell(report, owner, rows, addressee, work)
    except Exception as error:
        with suppress(LedgerError):  # then it is taken over when this process is gone, or silent for long
            work.ledger.reports.let_go(report, owner)
        if isinstance(error, SchedulerUnavailable):
            return "", error.message
        raise


def _tell(
    report: Report, owner: str, rows: Sequence[JobRow], addressee: Addressee, work: Workplace
) -> tuple[str, str]:
    """Say all of it that was not said. The first word decides: without it, one who has received the results says it all."""
    again = report.begun_at is not None
    results = collect(rows, [True] * len(rows), _without_waiting(work))
    account = addressee.account(report, Ended(rows, results, work.target.host, work.conceal), again=again)
    unsaid = again and not any(_was_told(event, again) for event in account.events[:1])
    if unsaid and (receiver := _receiver(report, rows, addressee, work)):
        return _received_by(receiver, report, work), ""
    for event in account.events:
        work.clock.point("report: before an event")
        if _was_told(event, again):
            continue
        if not work.ledger.reports.beat(report, owner):
            return "", _TAKEN
        event.tell()
        work.clock.point("report: after an event")
    well = [row.token for row in rows if row.state.is_success] if account.delivers else []
    work.ledger.reports.done(report, account.outcome, delivered=well)
    work.clock.point("report: after the note")
    return account.outcome, ""


def _received_by(step: Recipient, report: Report, work: Workplace) -> str:
    outcome = f"received by run {step.run_id}"
    work.ledger.reports.done(report, outcome)
    return outcome


def _was_told(event: Event, again: bool) -> bool:
    """Whether it was said before; it is looked for only where somebody has begun to say it."""
    return again and event.is_told()


def _ends(report: Report, work: Workplace) -> list[JobRow]:
    """The jobs of the report as they ended, each its last attempt, in the order in which they were asked for."""
    rows = work.ledger.reports.jobs_of(report)
    return [rows[token] for token in report.tokens if token in rows]


def _left_to_others(report: Report, rows: Sequence[JobRow], addressee: Addressee, work: Workplace) -> str:
    """Why others may still tell of these jobs: a step that submits or receives them has not come to its end."""
    if addressee.standing(report.submitter, report) is Standing.UNDER_WAY:
        return f"its own run {report.run_id} has not come that far"
    waiting = work.ledger.reports.awaited_by(report)
    waiting += [Recipient(row.run_id, row.step_key or "") for row in rows if row.run_id not in (None, report.run_id)]
    received = work.ledger.reports.received_since(report, [row.token for row in rows])
    for step in dict.fromkeys([*waiting, *received]):
        if step != report.submitter and addressee.standing(step, report) is Standing.UNDER_WAY:
            return f"run {step.run_id} waits for its job"
    return ""


def _receiver(report: Report, rows: Sequence[JobRow], addressee: Addressee, work: Workplace) -> Recipient | None:
    """The step that has received these results since they are to be reported, if there is one."""
    if not any(row.state.is_success for row in rows):
        return None
    for step in work.ledger.reports.received_since(report, [row.token for row in rows]):
        if addressee.standing(step, report) in (Standing.RECEIVED, Standing.UNKNOWN):
            return step
    return None


def _is_free(report: Report, work: Workplace) -> bool:
    """Whether nobody reports it just now: its owner is gone, or has given no sign of life for very long."""
    if process_lives(report.owner) is False:
        return True
    return work.ledger.now() - report.heartbeat_at > work.target.patience.owner_silent_s


def _without_waiting(work: Workplace) -> Workplace:
    """One who looks again and again waits for no file."""
    patience = replace(work.target.patience, file_delay_s=0.0, accounting_delay_s=0.0)
    return replace(work, target=replace(work.target, patience=patience))
