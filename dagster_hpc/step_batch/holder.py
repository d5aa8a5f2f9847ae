"""Runs the steps of an allocation, inside the job that holds it. It decides when a step may start, never where.

It counts cores, and nothing else: where each rank finds them is the business of the launcher, `srun --exact` for
example, which waits until it has found them. Steps start in the order in which they came.

python3 -m dagster_hpc.step_batch.holder --spool DIR --name TOKEN --cores 64 --walltime 28800 --idle 60
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from dagster_hpc.step_batch import spool
from dagster_hpc.step_batch.folder import Folder
from dagster_hpc.step_batch.running import End, Running
from dagster_hpc.step_batch.spool import Submission

RESERVE_S = 5.0  # of the allocation, in which the last step and this program come to their end
_BUSY_S, _QUIET_S, _SLOWER = 0.02, 1.0, 0.1  # between two looks: the longer nothing has happened, the longer


class Holder:
    """One life of a held job. `start` begins a step; `now` are seconds that never step back, `clock` the time of day."""

    def __init__(
        self,
        folder: Folder,
        name: str,
        *,
        cores: int,
        walltime_s: float,
        idle_s: float,
        start: Callable[[Submission, int, float], Any],
        now: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._cores, self._idle_s = folder, cores, idle_s
        self._now, self._clock, self._start = now, clock, start
        self.name = _begin(folder, name)
        self._place = f"{spool.HOLDERS}/{self.name}"
        self._until = now() + walltime_s - RESERVE_S
        self._busy_at = self._changed_at = now()
        self._running: dict[tuple[str, int], Any] = {}
        self._known: dict[str, Submission] = {}  # what is in the queue
        self._left: dict[str, list[int]] = {}  # of these the steps that nobody had taken when we looked
        self._drains = self._gives_back = self._is_used = False

    def round(self) -> bool:
        """Do what is due. False: it is over, and has nothing running."""
        self._look_after_steps()
        self._hear_wishes()
        is_closed = self._gives_back or self._now() >= self._until
        drains = is_closed or self._take()
        if self._running:
            self._busy_at = self._now()
        is_idle = self._now() - self._busy_at >= self._idle_s
        ends = not self._running and (is_closed or is_idle or (drains and not self._can_take_more()))
        # Said before it is gone: a step that comes now is for the next allocation.
        self._say_that_it_drains(drains or ends)
        return not ends

    @property
    def pause_s(self) -> float:
        """How long nothing is missed by not looking."""
        return min(_QUIET_S, max(_BUSY_S, _SLOWER * (self._now() - self._changed_at)))

    def end_all(self) -> None:
        """The allocation itself is told to end: pass it on. What that means for each step its keeper says."""
        for running in self._running.values():
            running.stop("CANCELLED", "its allocation was told to end", self._now())

    @property
    def is_at_work(self) -> bool:
        """Whether a step still runs; one that has ended, and whose end is not written down yet, does not."""
        return any(running.look(self._now()) is None for running in self._running.values())

    @property
    def is_empty(self) -> bool:
        for key in [key for key, running in self._running.items() if running.look(self._now())]:
            del self._running[key]
        return not self._running

    def _look_after_steps(self) -> None:
        for key, running in list(self._running.items()):
            if end := running.look(self._now()):
                self._note_end(running.submission, running.index, end)  # again, where the file system did not take it
                del self._running[key]
                self._changed_at = self._now()

    def _hear_wishes(self) -> None:
        for wish in self._folder.list(f"{self._place}/wishes") if self._running or not self._gives_back else ():
            token, index = spool.split(wish)
            if wish == spool.GIVE_BACK:
                self._gives_back = True
            elif running := self._running.get((token, index or 0)):
                running.stop("CANCELLED", "cancelled while it ran", self._now())

    def _take(self) -> bool:
        """Start the steps for which there is room, in their order. Whether one waits that this allocation cannot take."""
        drains = False
        free = self._cores - sum(running.submission.cores for running in self._running.values())
        if free <= 0:
            return self._drains
        self._look_into_queue()
        for submission in sorted(self._known.values(), key=lambda one: (one.submitted_at, one.token)):
            if submission.walltime_s > self._until - self._now():
                drains = True
                continue
            while self._left[submission.token] and self._may_run_one_more(submission):
                if submission.cores > free and self._running:
                    return drains  # who came first goes first: smaller ones would overtake a large one for ever
                if self._start_step(submission, self._left[submission.token].pop(0)):
                    free -= submission.cores
            if not self._left[submission.token]:
                spool.leave_queue(self._folder, submission.token)
                del self._known[submission.token]
        return drains

    def _can_take_more(self) -> bool:
        return any(one.walltime_s <= self._until - self._now() for one in self._known.values())

    def _may_run_one_more(self, submission: Submission) -> bool:
        if not submission.at_once:
            return True
        return sum(token == submission.token for token, _ in self._running) < submission.at_once

    def _look_into_queue(self) -> None:
        queued = self._folder.list(spool.QUEUE)
        for token in set(self._known) - set(queued):
            del self._known[token]
        for token in queued:
            if token in self._known:
                continue
            submission = spool.read(self._folder, token)
            if submission is not None:
                taken = set(self._folder.list(f"{spool.STEPS}/{token}"))
                self._known[token] = submission
                self._left[token] = [index for index in submission.indices if str(index) not in taken]

    def _start_step(self, submission: Submission, index: int) -> bool:
        """Take this step and start it. False: somebody else has taken it."""
        if not self._is_used:
            self._folder.create(f"{self._place}/{spool.USED}", b"")
            self._is_used = True
        if not self._folder.link(f"{self._place}/name", f"{spool.STEPS}/{submission.token}/{index}"):
            return False
        self._changed_at, started_at = self._now(), self._clock()
        try:
            self._running[submission.token, index] = self._start(submission, index, self._now())
        except OSError as error:
            self._note_end(submission, index, End("FAILED", f"could not start: {error}"))
            return True
        self._note(submission, index, state="RUNNING", started_at=started_at, host=socket.gethostname())
        return True

    def _note_end(self, submission: Submission, index: int, end: End) -> None:
        known = {key: value for key, value in asdict(end).items() if value is not None}
        self._note(submission, index, **{"ended_at": self._clock(), **known})

    def _note(self, submission: Submission, index: int, **what: Any) -> None:
        line = json.dumps({"step": index, **what}) + "\n"
        self._folder.append(f"{spool.STEPS}/{submission.token}/{self.name}.log", line.encode())

    def _say_that_it_drains(self, drains: bool) -> None:
        if drains and not self._drains:
            self._folder.create(f"{self._place}/{spool.DRAINS}", b"")
        elif self._drains and not drains:
            self._folder.remove(f"{self._place}/{spool.DRAINS}")
        self._drains = drains


def _begin(folder: Folder, token: str) -> str:
    """The name of this life. A held job that the scheduler has started again lost all that it ran before."""
    life = 1
    while True:
        name = f"{token}.{life}"
        folder.make(f"{spool.HOLDERS}/{name}/wishes")
        if folder.create(f"{spool.HOLDERS}/{name}/name", name.encode()):
            return name
        verdict = {"state": "NODE_FAIL", "reason": "its allocation was started again by the scheduler"}
        folder.create(f"{spool.HOLDERS}/{name}/{spool.OVER}", json.dumps(verdict).encode())
        life += 1


def main() -> int:
    """Run until the allocation is given back or ends."""
    asked = _parser().parse_args()
    ready, wake = os.pipe()
    os.set_blocking(wake, False)
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: told.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    umask = os.umask(0o077)  # what is written here is for this user alone; what programs write, as they ask
    folder = Folder(asked.spool)
    spool.tidy(folder)
    holder = Holder(
        folder, asked.name, cores=_cores(asked), walltime_s=asked.walltime, idle_s=asked.idle,
        start=partial(Running, umask=umask),
    )  # fmt: skip
    print(f"{holder.name} holds {_cores(asked)} cores for the steps in {asked.spool}", flush=True)
    patience = _Patience(holder, asked.idle)
    while patience.round():
        if select.select([ready], [], [], holder.pause_s)[0]:
            os.read(ready, 4096)
        if told:
            holder.end_all()
            while not holder.is_empty:
                time.sleep(0.05)
            return 128 + told[0]
    print(f"{holder.name} is given back", flush=True)
    return 0


class _Patience:
    """Rounds of a holder. Where the file system does not answer, or is full, nothing is lost: a round is done again.

    With nothing running for as long as an allocation may be idle, it is given back all the same: its folder may be gone.
    """

    def __init__(self, holder: Holder, idle_s: float) -> None:
        self._holder, self._idle_s = holder, idle_s
        self._failing_since: float | None = None

    def round(self) -> bool:
        now = time.monotonic()
        try:
            goes_on = self._holder.round()
        except OSError as error:
            print(f"{self._holder.name} tries again: {error}", file=sys.stderr, flush=True)
            self._failing_since = now if self._failing_since is None else self._failing_since
            time.sleep(min(_QUIET_S, self._idle_s))
            return self._holder.is_at_work or now - self._failing_since < self._idle_s
        self._failing_since = None
        return goes_on


def _cores(asked: argparse.Namespace) -> int:
    """What was asked for; where whole nodes were, what there is on them."""
    on_node, nodes = os.environ.get("SLURM_CPUS_ON_NODE", ""), os.environ.get("SLURM_JOB_NUM_NODES", "")
    if asked.whole_nodes and on_node.isdigit() and nodes.isdigit():
        return int(on_node) * int(nodes)
    return int(asked.cores)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="holder", description="Runs steps in the job that it is started in.")
    parser.add_argument("--spool", required=True, metavar="DIR")
    parser.add_argument("--name", default=os.environ.get("HPC_JOB_TOKEN", ""), metavar="TOKEN")
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--whole-nodes", action="store_true")
    parser.add_argument("--walltime", type=float, required=True, metavar="SECONDS")
    parser.add_argument("--idle", type=float, required=True, metavar="SECONDS")
    return parser


if __name__ == "__main__":
    sys.exit(main())
