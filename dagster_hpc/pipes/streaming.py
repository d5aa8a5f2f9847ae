"""Reading along while jobs run: what they log reaches the log of the run as it comes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

import dagster as dg

from dagster_hpc.pipes.messages import JobMessages, Message

_QUICKEST_S, _SLOWEST_S = 0.1, 5.0  # between two looks
_SLOWER = 0.05  # the pause, as a part of the time since anything came
_JOBS_PER_LOOK = 3  # whose files one look touches, however many are waited for
_LEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")
_LONGEST_TEXT = 20_000


@dataclass
class Voice:
    """One job, and the log into which it speaks. `prefix` tells it from others of its array."""

    messages: JobMessages
    log: dg.DagsterLogManager
    prefix: str = ""
    _lives: int = 1

    def listen(self) -> bool:
        """Hand on what is new. True if anything is."""
        new = self.messages.look()
        if self.messages.lives > self._lives:
            self._lives = self.messages.lives
            self.log.warning(f"{self.prefix}the job was started again; what it had reported before is dropped")
        for message in new:
            self._hand_on(message)
        return bool(new)

    def _hand_on(self, message: Message) -> None:
        params = message["params"]
        if message["method"] == "log":
            level = str(params.get("level", "")).upper()
            text = self.prefix + str(params.get("message", ""))[:_LONGEST_TEXT]
            self.log.log(level if level in _LEVELS else "INFO", text)
        elif message["method"] == "log_external_stream":
            stream = sys.stderr if params.get("stream") == "stderr" else sys.stdout
            print(f"{self.prefix}{params.get('text', '')}", end="", file=stream, flush=True)


@contextmanager
def streaming(voices: Sequence[Voice]) -> Iterator[None]:
    """Listen to these jobs while the block runs."""
    over = Event()
    with ThreadPoolExecutor(1, "pipes") as thread:
        listening = thread.submit(_listen, voices, over)
        try:
            yield
        finally:
            over.set()
        listening.result()


def _listen(voices: Sequence[Voice], over: Event) -> None:
    pause_s, changed_at, turn = _QUICKEST_S, time.monotonic(), 0
    while not over.wait(pause_s):
        for _ in voices[:_JOBS_PER_LOOK]:
            if voices[turn % len(voices)].listen():
                changed_at = time.monotonic()
            turn += 1
        pause_s = min(max(_QUICKEST_S, _SLOWER * (time.monotonic() - changed_at)), _SLOWEST_S)
