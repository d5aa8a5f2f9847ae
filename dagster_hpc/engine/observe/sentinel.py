"""What a job says of itself: the small files that its script leaves in `.job/`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.hosts.base import Host
from dagster_hpc.engine.job import JobMetrics
from dagster_hpc.engine.schedulers.base import Scheduler

_LONGEST_STATISTICS = 1024 * 1024  # the job's own figures stand before those of its nodes


@dataclass(frozen=True)
class Sentinel:
    """The third witness beside queue and accounting. An exit code in it proves that the script ran to its end."""

    started_at: float | None = None
    job_id: str | None = None  # of the job that runs here, as it names itself
    node: str | None = None
    exit_code: int | None = None
    ended_at: float | None = None
    signal: str | None = None  # the last signal that reached the script
    failure: str = ""  # which step of the script failed, in a sentence
    unreadable: str = ""  # the file system does not answer, in its own words: then what is absent proves nothing
    cpu_time_s: float | None = None

    @property
    def metrics(self) -> JobMetrics:
        return JobMetrics(
            started_at=self.started_at, ended_at=self.ended_at, cpu_time_s=self.cpu_time_s, node_list=self.node
        )


def read_sentinel(host: Host, directory: str) -> Sentinel:
    """Read all of it. What is absent, empty or half written on a slow file system reads as not yet there."""
    try:
        return _read(host, directory)
    except OSError as error:
        return Sentinel(unreadable=str(error))


def _read(host: Host, directory: str) -> Sentinel:
    started = _text(host, directory, jobdir.STARTED).split()
    exit_code, ended_at = parse_exit_code(_text(host, directory, jobdir.EXIT_CODE))
    return Sentinel(
        started_at=_number(started[0]) if started else None,
        job_id=started[1] if len(started) == 3 else None,
        node=started[2] if len(started) == 3 else None,
        exit_code=exit_code,
        ended_at=ended_at,
        signal=_text(host, directory, jobdir.SIGNAL).strip() or None,
        failure=_text(host, directory, jobdir.FAILURE).strip(),
        cpu_time_s=parse_times(_text(host, directory, jobdir.TIMES)),
    )


def has_ended(host: Host, directory: str) -> bool:
    """Whether the script has run to its end; the cheap question that a waiting process asks often."""
    try:
        return bool(host.size(jobdir.protocol_path(directory, jobdir.EXIT_CODE)))
    except OSError:
        return False  # a file system that does not answer says nothing


def read_statistics(host: Host, scheduler: Scheduler, directory: str, index: int | None) -> JobMetrics:
    """What the batch system itself has left of figures beside a job; none where it writes no such file."""
    path = scheduler.statistics_of(directory, index)
    try:
        if path is None or not host.size(path):
            return JobMetrics()
    except OSError:
        return JobMetrics()  # asked again when the result is collected
    return scheduler.read_statistics((host.read(path, limit=_LONGEST_STATISTICS) or b"").decode("utf-8", "replace"))


def parse_exit_code(text: str) -> tuple[int | None, float | None]:
    """`3 1763620000.5` → the payload's exit code and when it ended."""
    words = text.split()
    if not words or not re.fullmatch(r"\d{1,3}", words[0], re.ASCII):
        return None, None
    return int(words[0]), _number(words[1]) if len(words) > 1 else None


def parse_times(text: str) -> float | None:
    """The user and system time in the two lines of bash's `times`: the shell's own, and its children's."""
    parts = re.findall(r"(\d{1,9})m(\d{1,3}[.,]\d{1,6})s", text, re.ASCII)
    if len(parts) != 4:
        return None
    return sum(int(minutes) * 60 + float(seconds.replace(",", ".")) for minutes, seconds in parts)


def _text(host: Host, directory: str, name: str) -> str:
    content = host.read(jobdir.protocol_path(directory, name), limit=4096)
    return (content or b"").decode("utf-8", "replace")


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text, re.ASCII) else None
