"""Durations and sizes, as people write them."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.engine.units import format_walltime, parse_memory, parse_signal, parse_walltime

TEN_YEARS = 10 * 365 * 86400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:05:00", 300),
        ("01:30:00", 5400),
        ("1:2:3", 3723),
        ("100:00:00", 360000),
        ("2-00:00:00", 172800),
        ("1-02:03:04", 93784),
        ("90m", 5400),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("2d", 172800),
        ("1D2H", 93600),
        ("45s", 45),
        ("5400", 5400),
        (" 60 ", 60),
    ],
)
def test_a_walltime_may_be_written_in_any_usual_way(text: str, seconds: int) -> None:
    assert parse_walltime(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "abc", "1:2", "00:60:00", "00:00:60", "1.5h", "-5", "0", "00:00:00", "1h30", "5x", "1-2", "\u0663\u0660m",
     "\u00b2", "00:05:00\n#SBATCH -A x", "1h\0", "9" * 30, "inf", "nan", "1e3"],
)  # fmt: skip
def test_a_walltime_that_is_none_is_refused_with_its_own_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"walltime") as refused:
        parse_walltime(text)
    assert repr(text) in str(refused.value)


def test_two_fields_are_refused_because_they_have_two_meanings() -> None:
    with pytest.raises(ValueError, match="write HH:MM:SS"):
        parse_walltime("10:30")


@given(st.integers(1, TEN_YEARS))
def test_what_is_written_is_what_is_read(seconds: int) -> None:
    assert parse_walltime(format_walltime(seconds)) == seconds
    assert parse_walltime(str(seconds)) == seconds


@given(st.text())
def test_no_text_gives_a_walltime_that_is_none(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert 0 < parse_walltime(text) <= TEN_YEARS


@given(st.from_regex(re.compile(r"[\d:dhms\- ]{0,12}")))
def test_what_looks_like_a_walltime_is_read_or_refused(text: str) -> None:
    test_no_text_gives_a_walltime_that_is_none.hypothesis.inner_test(text)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("16G", 16384),
        ("16GiB", 16384),
        ("16gb", 16384),  # "gb" is GiB to every scheduler
        ("512M", 512),
        ("512 MiB", 512),
        ("1.5T", 1572864),
        ("1K", 1),
        ("1025K", 2),
        ("0.5M", 1),
    ],
)
def test_memory_is_read_and_rounded_up_to_whole_mebibytes(text: str, mib: int) -> None:
    assert parse_memory(text) == mib


@pytest.mark.parametrize(
    "text", ["", "16", "G", "0G", "-1G", "16X", "1e3G", "16 G B", "\u0663G", "nanG", "9" * 20 + "T"]
)
def test_memory_without_a_clear_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="memory"):
        parse_memory(text)


@given(st.text())
def test_no_text_gives_memory_of_no_possible_size(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_memory(text) >= 1


@pytest.mark.parametrize(
    ("text", "signal"),
    [("USR1@120", ("USR1", 120)), ("SIGTERM@5m", ("TERM", 300)), (" INT@00:01:00 ", ("INT", 60))],
)
def test_a_warning_is_a_signal_and_a_time(text: str, signal: tuple[str, int]) -> None:
    assert parse_signal(text) == signal


@pytest.mark.parametrize("text", ["", "USR1", "@120", "KILL@10", "NOPE@10", "USR1@", "USR1@0", "usr1@10", "USR1@-5"])
def test_a_warning_that_no_scheduler_could_give_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"signal_before_end|walltime"):
        parse_signal(text)
