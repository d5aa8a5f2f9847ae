"""What a job's own files say, and what they do not say while they are being written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.observe.sentinel import Sentinel, has_ended, parse_exit_code, parse_times, read_sentinel

HOST = LocalHost()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / ".job").mkdir()
    return tmp_path


def write(directory: Path, **files: str) -> None:
    for name, text in files.items():
        (directory / ".job" / name).write_text(text)


def test_a_job_that_has_not_begun_has_said_nothing(directory: Path) -> None:
    assert read_sentinel(HOST, str(directory)) == Sentinel()
    assert not has_ended(HOST, str(directory))


def test_a_directory_that_is_not_there_says_nothing() -> None:
    assert read_sentinel(HOST, "/nowhere/at/all") == Sentinel()
    assert not has_ended(HOST, "/nowhere/at/all")


def test_a_whole_life_is_read(directory: Path) -> None:
    write(
        directory,
        started="1763620000.25 42 node1\n",
        exit_code="3 1763620010.5\n",
        signal="TERM\n",
        failure="module load gcc failed\n",
        times="0m0.010s 0m0.020s\n1m1.500s 0m0.470s\n",
    )
    assert read_sentinel(HOST, str(directory)) == Sentinel(
        started_at=1763620000.25,
        job_id="42",
        node="node1",
        exit_code=3,
        ended_at=1763620010.5,
        signal="TERM",
        failure="module load gcc failed",
        cpu_time_s=pytest.approx(62.0),
    )
    assert has_ended(HOST, str(directory))


def test_an_empty_file_on_a_slow_file_system_is_not_yet_there(directory: Path) -> None:
    write(directory, exit_code="", started="")
    assert read_sentinel(HOST, str(directory)) == Sentinel()
    assert not has_ended(HOST, str(directory))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0 1763620000.5\n", (0, 1763620000.5)),
        ("137 1763620000\n", (137, 1763620000.0)),
        ("3", (3, None)),
        ("", (None, None)),
        ("\n", (None, None)),
        ("exit", (None, None)),
        ("-1 5", (None, None)),
        ("0x0", (None, None)),
        ("²", (None, None)),
        ("3 yesterday", (3, None)),
        ("1e2", (None, None)),
        ("99999999", (None, None)),
    ],
)
def test_only_a_number_is_an_exit_code(text: str, read: tuple[int | None, float | None]) -> None:
    assert parse_exit_code(text) == read


@given(st.text())
def test_no_content_of_the_file_raises(text: str) -> None:
    parse_exit_code(text)
    parse_times(text)


@given(st.binary())
def test_bytes_that_are_no_text_say_nothing_and_raise_nothing(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes
) -> None:
    directory = tmp_path_factory.mktemp("junk")
    (directory / ".job").mkdir()
    for name in ("started", "exit_code", "signal", "failure", "times"):
        (directory / ".job" / name).write_bytes(junk)
    read_sentinel(HOST, str(directory))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0m0.1s 0m0.2s\n0m0.3s 0m0.4s", 1.0),
        ("0m0,1s 0m0,2s\n0m0,3s 0m0,4s", 1.0),  # a locale with a decimal comma
        ("0m0.1s 0m0.2s\n", None),
    ],
)
def test_times_are_the_sum_of_shell_and_children(text: str, seconds: float | None) -> None:
    assert parse_times(text) == (None if seconds is None else pytest.approx(seconds))
