"""A job's output while it is written: line by line, a progress bar by its last state, and never too much at once."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.observe import logs
from dagster_hpc.engine.observe.logs import LogFollower, read_tail, read_tails
from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.flux.requests import Flux
from dagster_hpc.engine.schedulers.pjm.requests import PJM
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.target import Listener


class Reading(LocalHost):
    """A host that counts what it reads, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0
        self.fails = False

    def read(self, path: str, offset: int = 0, limit: int | None = None) -> bytes | None:
        if self.fails:
            raise OSError(errno.ESTALE, "Stale file handle")
        content = super().read(path, offset, limit)
        self.taken += len(content or b"")
        return content


@dataclass
class Log:
    """A log that grows, and who follows it."""

    path: Path
    host: Reading = field(default_factory=Reading)
    heard: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        row: Any = SimpleNamespace(work_dir=str(self.path.parent), handle=lambda: None)
        self.follower = LogFollower(
            self.host, row, Listener(on_output=lambda handle, stream, line: self.heard.append(line))
        )

    def write(self, content: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(content)

    def look(self, content: bytes = b"") -> list[str]:
        """What one look passes on after this was written."""
        self.write(content)
        before = len(self.heard)
        self.follower.follow()
        return self.heard[before:]

    def end(self) -> list[str]:
        before = len(self.heard)
        self.follower.finish()
        return self.heard[before:]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "stdout.log")


def test_lines_come_when_they_are_finished(log: Log) -> None:
    assert log.look() == []
    assert log.look(b"one\ntw") == ["one"]
    assert log.look(b"o\n\nthree") == ["two", ""]
    assert log.end() == ["three"]
    assert log.end() == []


def test_a_progress_bar_is_followed_by_its_last_state(log: Log) -> None:
    # without a line feed nothing was passed on, and all of it was kept
    assert log.look(b"begin\n1%\r2%\r3%\r") == ["begin", "3%"]
    assert log.look() == []
    assert log.look(b"4%\r5%\r6") == ["5%"]
    assert log.look(b"%\r7%\rdone\nnext\n") == ["done", "next"]


def test_a_progress_bar_that_returns_first_is_followed_too(log: Log) -> None:
    assert log.look(b"\r1%\r2%") == ["1%"]
    assert log.look(b"\r3%") == ["2%"]
    assert log.end() == ["3%"]


def test_lines_with_dos_ends_are_lines(log: Log) -> None:
    assert log.look(b"one\r\ntwo\r\n\r\n") == ["one", "two", ""]
    assert log.look(b"three\r") == ["three"]
    assert log.look(b"\nfour\r\n") == ["four"]


def test_little_of_a_long_progress_bar_is_kept(log: Log) -> None:
    heard = []
    for _ in range(20):
        heard += log.look(b"step %06d of 999999\r" * 50_000)
        assert all(len(stream.rest) + len(stream.state) < 1 << 20 for stream in log.follower._streams)
    assert len(heard) <= 20


def test_a_line_that_never_ends_comes_in_pieces(log: Log) -> None:
    pieces = log.look("größe".encode() * 100_000)
    assert len(pieces) > 5
    assert all(len(piece.encode()) <= 64 * 1024 for piece in pieces)
    assert "".join([*pieces, *log.end()]) == "größe" * 100_000


def test_a_finished_line_that_is_too_long_comes_in_pieces(log: Log) -> None:
    assert [len(piece) for piece in log.look(b"x" * 100_000 + b"\n")] == [65536, 34464]


def test_one_look_reads_a_few_mebibytes(log: Log) -> None:
    log.write(b"x" * 999 + b"\n")
    log.write((b"x" * 999 + b"\n") * 20_000)
    log.look()
    assert log.host.taken <= 8 * 2**20
    for _ in range(2):
        log.look()
    assert log.heard == ["x" * 999] * 20_001


def test_what_would_take_too_long_at_the_end_is_left_to_the_file(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_LAST_LOOK", 2**20)
    log.look(b"begun")
    log.write(b"x\n" * 2**20)
    heard = log.end()
    assert heard[0] == "begun"
    assert heard[1] == f"dagster_hpc: 1 MiB are left out here; all of it is in {log.path}"
    assert len(heard) == pytest.approx(2**19, abs=2)


def test_a_log_that_cannot_be_read_now_is_read_at_the_next_look(log: Log) -> None:
    log.host.fails = True
    assert log.look(b"one\n") == []
    assert log.end() == []
    log.host.fails = False
    assert log.look() == ["one"]


@given(st.lists(st.binary(max_size=20)))
def test_however_it_arrives_no_line_is_lost(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    log = Log(tmp_path_factory.mktemp("log") / "stdout.log")
    parts = [part.replace(b"\r", b"") for part in parts]
    for part in parts:
        log.look(part)
    log.end()
    lines = b"".join(parts).split(b"\n")
    assert log.heard == [line.decode("utf-8", "replace") for line in (lines if lines[-1] else lines[:-1])]


def test_the_end_of_a_progress_bar_is_its_last_state(log: Log) -> None:
    log.write(b"begin\n" + b"step 1 of 9\r" * 10_000 + b"step 9 of 9\r")
    assert read_tail(log.host, str(log.path)) == "step 9 of 9"
    log.write(b"\nKilled\n")
    assert read_tail(log.host, str(log.path)) == "step 9 of 9\nKilled"


def test_a_tail_that_cannot_be_read_says_so(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(log.host, "tail", fail)
    assert read_tail(log.host, str(log.path)) == f"dagster_hpc: {log.path} cannot be read now: Stale file handle"


# -- what ranks print into files of their own, as under Fujitsu's mpiexec


def tails_of_ranks(folder: Path, files: dict[str, str], scheduler: Scheduler, job_id: str | None = "101") -> list[str]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    row: Any = SimpleNamespace(work_dir=str(folder), job_id=job_id, array_index=None)
    return list(read_tails(LocalHost(), row, scheduler))


def test_where_the_jobs_own_log_is_empty_the_tail_is_that_of_its_ranks(tmp_path: Path) -> None:
    files = {"stdout.log": "", "output.101/0/1/stdout.1.0": "a\nb\n", "output.101/0/1/stderr.1.47": "Killed\n"}
    stdout, stderr = tails_of_ranks(tmp_path, files, PJM())
    assert stdout == "-- rank 0 (output.101/0/1/stdout.1.0)\na\nb"
    assert stderr == "-- rank 47 (output.101/0/1/stderr.1.47)\nKilled"


def test_what_the_job_itself_says_comes_before_what_its_ranks_say(tmp_path: Path) -> None:
    files = {"stdout.log": "done\n", "output.101/0/1/stdout.1.0": "a\n"}
    assert tails_of_ranks(tmp_path, files, PJM())[0] == "done"


def test_the_first_ranks_that_say_anything_are_shown_by_number(tmp_path: Path) -> None:
    files = {f"output.101/0/1/stdout.1.{rank}": f"{rank}\n" if rank % 2 else "" for rank in range(20)}
    stdout, _ = tails_of_ranks(tmp_path, files, PJM())
    assert stdout.splitlines()[1::2] == ["1", "3", "5", "7"]


def test_the_output_of_another_job_is_not_taken_for_a_ranks(tmp_path: Path) -> None:
    files = {"output.99/0/1/stdout.1.0": "a\n", "output/stdout.1.0": "b\n", "output.101/0/1/notes.txt": "c\n"}
    assert tails_of_ranks(tmp_path, files, PJM()) == ["", ""]
    assert tails_of_ranks(tmp_path, {"output.101/stdout.1.0": "d\n"}, Slurm()) == ["", ""]
    assert tails_of_ranks(tmp_path, {}, PJM(), job_id=None) == ["", ""]


def test_the_ranks_of_an_element_are_found_under_either_of_its_names(tmp_path: Path) -> None:
    for name in ("output.101", "output.101[3]"):
        stdout, _ = tails_of_ranks(tmp_path / name, {f"{name}/0/1/stdout.1.0": "a\n"}, PJM(), job_id="101[3]")
        assert stdout.endswith("\na")


def test_ranks_whose_files_cannot_be_listed_cost_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> list[str]:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(LocalHost, "list", fail)
    assert tails_of_ranks(tmp_path, {"output.101/0/1/stdout.1.0": "a\n"}, PJM()) == ["", ""]


def test_what_a_system_says_of_every_failure_is_not_shown_as_the_jobs_last_words(tmp_path: Path) -> None:
    """The last line of each failure under Flux was its broker's, on an exit code that is told anyway."""
    row: Any = SimpleNamespace(work_dir=str(tmp_path), array_index=None, job_id="f1")
    noise = "Nov 25 03:11:00.123456 UTC broker.err[0]: rc2.0: /jobs/x/bits.flux Exited (rc=3) 0.4s"
    (tmp_path / "stderr.log").write_text("the program's own\n")
    path = Path(Flux().log_of(row.work_dir, None))
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{noise}\nflux-job: task(s) exited with exit code 3\n")
    _, stderr = read_tails(LocalHost(), row, Flux())
    assert "broker.err" not in stderr
    assert stderr.startswith("the program's own\n")
