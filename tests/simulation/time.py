"""Simulated time: many processes, one at a time, in an order that the seed decides.

A process runs until it sleeps, asks a host, or passes one of the engine's named points. There another may go on, and
there it may die. A process that has died does nothing any more: not even the clean-up of its own `finally`.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable

from greenlet import getcurrent, greenlet

from dagster_hpc.engine.clock import Clock

START = 1_800_000_000.0
# Nobody looks more often than this, and less often where nothing has happened for long: a history costs less.
_COARSEST_S, _QUIET, _LONGEST_S = 5.0, 0.5, 60.0


class Death(BaseException):
    """The end of a simulated process. Nothing in the engine may catch it and go on."""


class Process:
    """One process of an orchestrator host."""

    def __init__(self, time: Time, name: str, host: str, work: Callable[[Process], None]) -> None:
        self.name, self.host = name, host
        self.time = time
        self.wakes_at = time.passed
        self.dead = self.over = False
        self.dies_at: tuple[str, int] | None = None  # a named point, and at which passage
        self.stalls_at: tuple[str, int, float] | None = None  # the same, and for how long it stands still there
        self.interrupted = False  # it is told to end, as by Ctrl-C
        self.points: Counter[str] = Counter()
        self.error: BaseException | None = None
        self._thread = greenlet(lambda: self._run(work), parent=getcurrent())

    def _run(self, work: Callable[[Process], None]) -> None:
        try:
            work(self)
        except Death:
            self.dead = True
        except BaseException as error:  # noqa: BLE001 - told by whoever steps the time
            self.error = error
        self.over = True

    def go_on(self) -> None:
        self._thread.switch()
        if self.error is not None:
            raise self.error

    def pause(self, seconds: float = 0.0) -> None:
        """Let the others go on; come back after so many seconds."""
        self.check()
        self.wakes_at = self.time.passed + seconds
        self._thread.parent.switch()
        self.check()
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt

    def check(self) -> None:
        if self.dead:
            raise Death(self.name)

    def kill(self) -> None:
        self.dead = True
        self.time.note(f"{self.name} dies")

    def interrupt(self) -> None:
        self.interrupted = True

    def passes(self, point: str) -> None:
        """It is at this point: it may die there, or stand still for a while as a suspended machine does."""
        self.points[point] += 1
        count = self.points[point]
        self.time.note(point)
        if self.dies_at == (point, count):
            self.kill()
        stalls = self.stalls_at is not None and self.stalls_at[:2] == (point, count)
        self.pause(self.stalls_at[2] if stalls and self.stalls_at else 0.0)


class Time:
    """The time that has passed, the events to come, and the processes."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.passed = 0.0
        self.tell: Callable[[str], None] | None = None  # who wants to hear all that happens
        self.last_event = 0.0
        self.stepped = 0.0  # by how much the clocks on the wall were set
        self.skew: dict[str, float] = {}  # by how much the clock of a host is wrong
        self.processes: list[Process] = []
        self.current: Process | None = None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def note(self, words: str) -> None:
        if self.tell is not None:
            who = self.current.name if self.current else "-"
            self.tell(f"{self.passed:8.1f} {who:8} {words}")

    def now(self) -> float:
        return START + self.passed + self.stepped

    def start(self, name: str, host: str, work: Callable[[Process], None]) -> Process:
        process = Process(self, name, host, work)
        self.processes.append(process)
        return process

    def at(self, seconds: float, event: Callable[[], None]) -> None:
        """Let this happen after so many seconds."""
        self._count += 1
        self._events.append((self.passed + max(0.0, seconds), self._count, event))

    def run(self, until: Callable[[], bool], limit: float) -> bool:
        """Let time pass until this is so. False when the limit comes first: then it is that late, and no later."""
        while not until():
            if not self._step(limit):
                self.passed = max(self.passed, limit)
                return False
        return True

    def _step(self, limit: float) -> bool:
        """Let the next thing happen. False if that is later than the limit."""
        waiting = [process for process in self.processes if not process.over]
        next_event = min(self._events, default=None)
        first = min((process.wakes_at for process in waiting), default=None)
        if min(next_event[0] if next_event else math.inf, math.inf if first is None else first) > limit:
            return False
        if next_event is not None and (first is None or next_event[0] <= first):
            self._events.remove(next_event)
            self.passed = self.last_event = max(self.passed, next_event[0])
            next_event[2]()
            return True
        assert first is not None  # else nothing at all is to come, which is later than any limit
        self.passed = max(self.passed, first)
        ready = [process for process in waiting if process.wakes_at <= self.passed]
        self.current = self.random.choice(ready)
        self.current.go_on()
        self.current = None
        return True


class SimulatedClock(Clock):
    """The clock of one simulated process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now(self) -> float:
        time = self._process.time
        return time.now() + time.skew.get(self._process.host, 0.0)

    def of_the_server(self) -> float:
        """The time of day on the database's host."""
        return self._process.time.now()

    def monotonic(self) -> float:
        return self._process.time.passed

    def sleep(self, seconds: float) -> None:
        time = self._process.time
        quiet_s = _QUIET * (time.passed - time.last_event)
        self._process.pause(max(seconds, _COARSEST_S, min(quiet_s, _LONGEST_S)))

    def point(self, name: str) -> None:
        self._process.passes(name)

    def within(self, seconds: float | None, work: Callable[[], None]) -> None:
        work()
