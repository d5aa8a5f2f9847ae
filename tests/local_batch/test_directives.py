import contextlib
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.local_batch.directives import (
    Dependency,
    Refused,
    Request,
    interpreter,
    parse_array,
    parse_job_id,
    parse_script,
)


def script(*directives: str) -> bytes:
    return "\n".join(["#!/bin/bash", *(f"#LOCAL {each}" for each in directives), "true\n"]).encode()


indices = st.sets(st.integers(0, 500), min_size=1, max_size=60)


@st.composite
def array_texts(draw: st.DrawFn) -> tuple[str, set[int]]:
    """A text such as 3,7-9,1 with the indices that it means."""
    parts: list[str] = []
    meant: set[int] = set()
    for first in draw(st.lists(st.integers(0, 500), min_size=1, max_size=8)):
        length = draw(st.integers(0, 9))
        parts.append(f"{first}-{first + length}" if length else str(first))
        meant.update(range(first, first + length + 1))
    return ",".join(parts), meant


@given(array_texts())
def test_an_array_text_means_the_sorted_union_of_its_ranges(case: tuple[str, set[int]]) -> None:
    text, meant = case
    assert parse_array(text) == (tuple(sorted(meant)), None)


@given(array_texts(), st.integers(1, 99))
def test_a_percent_sign_limits_how_many_run_at_once(case: tuple[str, set[int]], limit: int) -> None:
    assert parse_array(f"{case[0]}%{limit}")[1] == limit


@given(indices)
def test_a_list_of_indices_comes_back(chosen: set[int]) -> None:
    assert parse_array(",".join(map(str, chosen)))[0] == tuple(sorted(chosen))


@given(st.text(alphabet="0123456789-,% ax", max_size=12))
def test_an_array_text_is_understood_or_refused_and_nothing_else(text: str) -> None:
    try:
        found, limit = parse_array(text)
    except ValueError:
        return
    assert found
    assert list(found) == sorted(set(found))
    assert limit is None or limit >= 1


@pytest.mark.parametrize("text", ["", "5-3", "1,,2", "0-9%0", "0-9%", "a", "-1", "0-99999999", "1-2-3"])
def test_a_wrong_array_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="array"):
        parse_script(script(f"--array={text}"))


@given(
    name=st.text(min_size=1).filter(lambda text: text.isprintable() and text.strip() == text and text[0] not in "'\""),
    cores=st.integers(1, 10**6),
    memory=st.integers(0, 10**9),
    time_s=st.integers(0, 10**6),
)
def test_directives_come_back_as_written(name: str, cores: int, memory: int, time_s: int) -> None:
    request = parse_script(script(f"--name={name}", f"--cores={cores}", f"--memory={memory}", f"--time={time_s}"))
    assert request == Request(name=name, cores=cores, memory_mib=memory, time_s=time_s)


@given(st.text(alphabet="ab '\"\\$é\t", min_size=1).filter(str.isprintable).map(str.strip).filter(bool))
def test_a_value_may_be_quoted_as_in_a_shell(name: str) -> None:
    assert parse_script(script(f"--output={shlex.quote(name)}")).output == name


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused_and_nothing_else(noise: bytes) -> None:
    for head in (b"", b"#!/bin/sh\n#LOCAL --"):
        with contextlib.suppress(Refused):
            parse_script(head + noise)


def test_directives_end_at_the_first_command() -> None:
    text = b"#!/bin/bash\n\n# a comment\n#LOCAL --cores=2\n   # another\n#LOCAL --gpus=1\necho\n#LOCAL --cores=9\n"
    assert parse_script(text) == Request(cores=2, gpus=1)


def test_a_comment_that_only_looks_like_a_directive_is_a_comment() -> None:
    assert parse_script(b"#!/bin/bash\n#LOCALE --cores=x\n# LOCAL --cores=x\n#LOCAL\n") == Request()


def test_dependencies_add_up_over_lines_and_commas() -> None:
    request = parse_script(script("--after=ok:1:2_7,any:3", "--after=notok:4"))
    assert request.after == (
        Dependency("ok", 1),
        Dependency("ok", 2, 7),
        Dependency("any", 3),
        Dependency("notok", 4),
    )


@pytest.mark.parametrize(("text", "number", "before"), [("USR1@60", 10, 60), ("SIGTERM@5", 15, 5), ("12", 12, 60)])
def test_a_signal_is_a_name_or_a_number_with_a_time(text: str, number: int, before: float) -> None:
    request = parse_script(script(f"--signal={text}"))
    assert (request.signal, request.signal_before_s) == (number, before)


@pytest.mark.parametrize(
    ("directive", "word"),
    [
        ("--colour=red", "unknown directive --colour"),
        ("--cores", "needs a value"),
        ("--cores=0", "whole number"),
        ("--cores=two", "whole number"),
        ("--memory=4G", "whole number"),
        ("--time=01:00:00", "seconds"),
        ("--signal=NOPE@5", "not a signal"),
        ("--signal=DFL@5", "not a signal"),
        ("--after=ok", "ok:ID"),
        ("--after=later:3", "ok:ID"),
        ("--after=ok:x", "not a job id"),
        ("--output=a\0b", "NUL"),
        ("cores=2", "--key=value"),
        ("--name='open", "quotation"),
        ("--name='a' --cores=2", "one directive per line"),
    ],
)
def test_a_wrong_directive_is_refused_in_words(directive: str, word: str) -> None:
    with pytest.raises(Refused, match=re.escape(word)) as refusal:
        parse_script(script(directive))
    assert "line 2" in str(refusal.value)


@pytest.mark.parametrize(
    ("first", "program"),
    [
        (b"#!/bin/bash", ["/bin/bash"]),
        (b"#! /bin/bash -l", ["/bin/bash", "-l"]),
        (b"#!/usr/bin/env -S python3 -u", ["/usr/bin/env", "-S python3 -u"]),
    ],
)
def test_the_interpreter_line_is_split_as_the_kernel_does(first: bytes, program: list[str]) -> None:
    assert interpreter(first + b"\ntrue\n") == program


@pytest.mark.parametrize(
    "text", [b"", b"echo hello\n", b"#!\n", b"#!   \ntrue\n", b"#!/bin/bash\r\ntrue\r\n", b"#!/bin/\0\n"]
)
def test_a_script_without_a_usable_first_line_is_refused(text: bytes) -> None:
    with pytest.raises(Refused):
        parse_script(text)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("12", (12, None)), ("12_3", (12, 3)), ("12_", None), ("", None), ("-1", None), ("9" * 30, None), ("12\n", None)],
)
def test_job_ids(text: str, meaning: tuple[int, int | None] | None) -> None:
    assert parse_job_id(text) == meaning
