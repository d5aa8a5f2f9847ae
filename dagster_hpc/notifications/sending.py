"""From the ledger to one channel: what it has not been told yet is told, and noted as told."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.ledger import Subject
from dagster_hpc.engine.process import new_owner
from dagster_hpc.engine.runner import Runner
from dagster_hpc.notifications.channels import Channel, NotSent
from dagster_hpc.notifications.message import Message, message_of, summary_of
from dagster_hpc.notifications.occasions import Kind, Limits, Occasion, kind_of, under_way
from dagster_hpc.sensors.ended_job import EndedJob, Wanted

_ONE_BY_ONE = 5  # more are one summary: after an outage nobody reads a hundred mails
_TEXTS = ("failed", "near_walltime")  # of these the last lines of the logs are shown


@dataclass(frozen=True)
class Desk:
    """What is sent, about which jobs, and where to read more."""

    engine: Runner
    on: Collection[Kind]
    wanted: Wanted
    limits: Limits
    webserver_url: str | None = None

    def serve(self, channel: Channel, watcher: str) -> str:
        """Send the channel what it has not been told. What was done, in a sentence; '' if there was nothing to do."""
        ledger, target = self.engine.ledger, self.engine.target.key
        if ledger.notices.begin(watcher, target):
            return f"{channel.name}: begins with what happens from now on"
        now = ledger.now()
        news = [*self._ends(watcher, now), *self._under_way(watcher, now)]
        groups = [[one] for one in news] if len(news) <= _ONE_BY_ONE else [news]
        sent = 0
        for occasions in groups:
            try:
                sent += self._send(channel, watcher, occasions, now)
            except (NotSent, ConfigurationError) as error:  # a password that is not set here
                return f"{channel.name}: {len(news) - sent} not sent, {error.message}; tried again at the next look"
        return f"{channel.name}: {sent} sent" if sent else ""

    def _ends(self, watcher: str, now: float) -> list[Occasion]:
        """Ends that are to be told. Those that nobody wants to hear of are noted, and not looked at again."""
        notices = self.engine.ledger.notices
        found, unwanted = list[Occasion](), list[Subject]()
        for rows in notices.ended(watcher, self.engine.target.key):
            job = EndedJob(tuple(rows))
            if job.may_change(now):
                continue
            kind = kind_of(job) if self.wanted.wants(job) else None
            if kind is not None and kind in self.on:
                found.append(Occasion(kind, job, tuple(job.subjects)))
            else:
                unwanted += job.subjects
        notices.note(watcher, unwanted)
        return found

    def _under_way(self, watcher: str, now: float) -> list[Occasion]:
        """What is to be told of jobs that live, and was not."""
        if not set(self.on) - {"failed", "succeeded"}:
            return []
        ledger = self.engine.ledger
        rows = [row for row in ledger.jobs(live=True, target=self.engine.target.key) if self.wanted.covers(row)]
        occasions = under_way(rows, self.on, self.limits, now)
        told = ledger.notices.told(watcher, [subject for one in occasions for subject in one.subjects])
        return [one for one in occasions if told.isdisjoint(one.subjects)]

    def _send(self, channel: Channel, watcher: str, occasions: Sequence[Occasion], now: float) -> int:
        """Send these in one message. How many: none, if somebody else is at it."""
        notices, owner = self.engine.ledger.notices, new_owner()
        subjects = [subject for occasion in occasions for subject in occasion.subjects]
        if not notices.take(watcher, subjects, owner):
            return 0
        try:
            channel.send(self._message(occasions, now))
        except (NotSent, ConfigurationError):
            notices.let_go(watcher, subjects, owner)
            raise
        notices.tell(watcher, subjects, owner)
        return len(occasions)

    def _message(self, occasions: Sequence[Occasion], now: float) -> Message:
        if len(occasions) > 1:
            return summary_of(occasions, now)
        (occasion,) = occasions
        printed = self.engine.printed(occasion.job.first) if occasion.kind in _TEXTS else ("", "")
        return message_of(occasion, printed=printed, now=now, webserver_url=self.webserver_url)
