"""Sleep until a signal, a file descriptor or a deadline, without a gap in which a signal could be missed."""

import contextlib
import os
import select
import signal


class SignalInbox:
    """Catches the given signals while it is open. They wake `wait`, also when they came just before it.

    Handlers, not SIG_IGN: a job's script would inherit what is ignored, and bash cannot trap what it finds ignored.
    """

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def __enter__(self) -> "SignalInbox":
        self._read, self._write = _pipe()
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in self.numbers:
            signal.signal(number, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self.numbers:
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)

    def wait(self, timeout_s: float | None, *others: int) -> set[int]:
        """The signals that came, if any, after at most `timeout_s`; also returns when one of `others` can be read."""
        timeout = None if timeout_s is None else max(timeout_s, 0)
        ready, _, _ = select.select([self._read, *others], [], [], timeout)
        return set(drain(self._read)) if self._read in ready else set()


def drain(descriptor: int) -> bytes:
    """Empty a non-blocking pipe."""
    content = b""
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(descriptor, 4096):
            content += chunk
    return content


def name(number: int) -> str:
    """`11 (SIGSEGV)`."""
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends
