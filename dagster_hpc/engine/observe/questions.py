"""What a scheduler is asked: about many jobs in one command, about one that was left out alone, in its own words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.ledger.ledger import Watched
from dagster_hpc.engine.schedulers.base import Report, Scheduler
from dagster_hpc.engine.workplace import Workplace

_ALONE_PER_POLL = 4  # jobs that an answer has left out are asked for one by one, so many at a time
_MOST_WORDINGS = 4  # a system that is asked in ever other words, and answers none of them, is not understood
_MOST_LINES = 10  # of what a system that does not answer has to say


@dataclass(frozen=True)
class _Question:
    """The queue's or the accounting's, to whichever scheduler."""

    call: Callable[[Scheduler, Sequence[str]], Call | None]
    read: Callable[[Scheduler, Answer], Report]
    ids_per_call: Callable[[Scheduler], int]


_QUEUE = _Question(
    lambda scheduler, ids: scheduler.queue(ids),
    lambda scheduler, answer: scheduler.read_queue(answer),
    lambda scheduler: scheduler.ids_per_call,
)
_ALONE = _Question(
    lambda scheduler, ids: scheduler.look_for(ids[0]),
    lambda scheduler, answer: scheduler.read_look_for(answer),
    lambda scheduler: 1,
)
_HISTORY = _Question(
    lambda scheduler, ids: scheduler.history(ids),
    lambda scheduler, answer: scheduler.read_history(answer),
    lambda scheduler: scheduler.history_ids_per_call,
)


class Questions:
    """Asks one target's scheduler. It remembers in which words that wants to be asked, and which source is silent now."""

    def __init__(self, work: Workplace, holder: str) -> None:
        self._work = work
        self._holder = holder
        self._silent: set[str] = set()
        self.scheduler = work.target.scheduler
        self.has_history = True
        self.begin()

    def begin(self) -> None:
        """A poll begins: so far all has been answered."""
        self.heard = True
        self._alone = _ALONE_PER_POLL

    @property
    def may_ask_alone(self) -> bool:
        """Whether one more job may be asked for by itself in this poll."""
        return self._alone > 0

    def queue(self, jobs: Sequence[Watched]) -> Report:
        if not jobs:
            return Report()
        report = self._ask_of_many(jobs, _QUEUE)
        self.complain(self._work.target.key, report.failed)
        return report

    def history(self, jobs: Sequence[Watched]) -> Report:
        if not (self.has_history and jobs):
            return Report()
        report = self._ask_of_many(jobs, _HISTORY)
        self.has_history = not report.disabled
        self.complain(f"the accounting of {self._work.target.key}", report.failed)
        return report

    def queue_alone(self, row: JobRow) -> Report:
        """What the queue says of this one job, which its answer about many has left out."""
        return self._ask_of_one(row, _ALONE)

    def history_alone(self, row: JobRow) -> Report:
        """What the accounting says of this one job, which its answer about many has left out."""
        return self._ask_of_one(row, _HISTORY)

    def complain(self, source: str, words: str) -> None:
        """Tell once that this source does not answer, and once that it does again."""
        if words and source not in self._silent:
            self._silent.add(source)
            self._work.listener.on_warning(
                f"{source} cannot be asked just now, and jobs go on meanwhile. It says: {_first_lines(words)}\n"
                f"What to do: nothing if it is down for a while; otherwise `dagster-hpc doctor` tells what is wrong."
            )
        elif not words and source in self._silent:
            self._silent.remove(source)
            self._work.listener.on_warning(f"{source} answers again.")

    def _ask_of_one(self, row: JobRow, question: _Question) -> Report:
        self._alone -= 1
        report = self._ask([row.job_id or ""], question)
        self.complain(f"{self._work.target.key}, for job {row.job_id} alone,", report.failed)
        return report

    def _ask_of_many(self, jobs: Iterable[Watched], question: _Question) -> Report:
        """One question for all of these jobs, in as few commands as the system allows."""
        ids = list(dict.fromkeys(self.scheduler.array_id(job.job_id) for job in jobs if job.job_id))
        told: Report | None = None
        start = 0
        while start < len(ids):
            size = question.ids_per_call(self.scheduler)
            report = self._ask(ids[start : start + size], question)
            told = report if told is None else _together(told, report)
            start += size
            if start < len(ids):
                self._work.ledger.leases.renew(self._work.target.key, self._holder)
        return told or Report()

    def _ask(self, ids: Sequence[str], question: _Question) -> Report:
        """Ask in the words that this version wants, which its answers tell."""
        for _ in range(_MOST_WORDINGS):
            report = self._ask_in_these_words(ids, question)
            if report.instead is None:
                break
            self.scheduler = report.instead
        else:
            report = Report(failed="it was asked in all the words that are known here, and understood none of them")
        self.heard = self.heard and not report.failed
        return report

    def _ask_in_these_words(self, ids: Sequence[str], question: _Question) -> Report:
        host, call = self._work.target.host, question.call(self.scheduler, ids)
        if call is None:
            return Report(disabled=True)
        try:
            report = question.read(self.scheduler, host.run(call))
        except FileNotFoundError:
            return Report(failed=f"`{call.argv[0]}` is not on PATH on {host.name}")
        if report.reasons and not report.instead:
            better = question.read(self.scheduler, host.run(report.reasons)).jobs
            told = {
                job_id: replace(status, reason=better[job_id].reason)
                for job_id, status in report.jobs.items()
                if status.stuck and job_id in better
            }
            return replace(report, jobs={**report.jobs, **told})
        return report


def _together(one: Report, other: Report) -> Report:
    """Two answers to one question, about some jobs and about others."""
    return Report(
        jobs={**one.jobs, **other.jobs},
        unknown=one.unknown | other.unknown,
        whole=one.whole and other.whole,
        failed=one.failed or other.failed,
        disabled=one.disabled or other.disabled,
    )


def _first_lines(words: str) -> str:
    lines = words.splitlines()
    return "\n".join(line[:300] for line in lines[:_MOST_LINES]) + ("\n…" if len(lines) > _MOST_LINES else "")
