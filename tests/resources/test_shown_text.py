"""What jobs print, fit to be shown: no secrets, no control characters, bounded, and never a failure of its own."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.shown_text import (
    beginning_and_end,
    ending,
    masked,
    readable,
    shortened,
    sounds_secret,
    without_values,
)

HOSTILE = st.text(st.sampled_from("aTOKEN_-=:'\"`\\ \n\r\t\x1b[]m;]()/@.$" + "\u202e\ud800\x00"), max_size=200)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("--token hunter2 --shots 4", "--token *** --shots 4"),
        ("--db-password=hunter2", "--db-password=***"),
        ("eval 'export API_KEY=hunter2'", "eval 'export API_KEY=***'"),
        ("PBS_O_HOME=/x,API_KEY=hunter2,PATH=/bin", "PBS_O_HOME=/x,API_KEY=***,PATH=/bin"),
        ('{"client_secret": "hunter2", "a": 1}', '{"client_secret": ***, "a": 1}'),
        ("curl -H 'Authorization: Bearer hunter2hunter2'", "curl -H 'Authorization: Bearer ***'"),
        ("postgresql://me:hunter2@db/x", "postgresql://me:***@db/x"),
        (
            "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\n***\n-----END PRIVATE KEY-----",
        ),
        ("export HF_TOKEN='hun'$'\\n''ter2'", "export HF_TOKEN=***"),
    ],
)
def test_a_secret_is_masked_wherever_it_may_stand(said: str, shown: str) -> None:
    assert masked(said) == shown


@pytest.mark.parametrize(
    "said",
    ["num_tokens=512 tokenizer=bpe", "a secret place", "unexpected token )", "HPC_JOB_TOKEN=abcd2345", "a=1 https://x/y"],
)
def test_what_is_no_secret_stays(said: str) -> None:
    assert masked(said) == said


def test_values_are_masked_by_themselves_the_longest_first() -> None:
    assert without_values("hunter2-long and hunter2, ab", ["hunter2", "hunter2-long", "ab"]) == "*** and ***, ab"


def test_names_of_secrets_are_known() -> None:
    assert sounds_secret("MY_API_KEY")
    assert not sounds_secret("OMP_PROC_BIND")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("10 %\r20 %\r30 %\nnext", "30 %\nnext"),
        ("DOS\r\nlines\r\n", "DOS\nlines\n"),
        ("bell\x07 null\x00 delete\x7f", "bell null delete"),
        ("\u202eesrever", "esrever"),
        ("half \ud83d", "half "),
        ("tab\tand\nline", "tab\tand\nline"),
    ],
)
def test_text_is_shown_as_a_terminal_would_show_it_at_the_end(said: str, shown: str) -> None:
    assert readable(said) == shown


@given(HOSTILE)
def test_masking_twice_is_masking_once_and_keeps_the_lines(words: str) -> None:
    once = masked(readable(words))
    assert masked(once) == once
    assert readable(once) == once
    once.encode()  # a database takes it


@given(st.text(max_size=300), st.integers(2, 100))
def test_what_is_shown_of_a_long_text_is_bounded(words: str, longest: int) -> None:
    for cut in (shortened, beginning_and_end, ending):
        shown = cut(words, longest)
        assert len(shown) <= longest + 60
        assert (shown == words) == (len(words) <= longest)


@pytest.mark.parametrize("piece", ["TOKEN", "a", "'", "-", "\x1b]", "x\r", "://:", "TOKEN='", "-----BEGIN PRIVATE KEY-----"])
def test_a_long_hostile_line_costs_no_time(piece: str) -> None:
    words = piece * (65_536 // len(piece))
    begun = time.process_time()
    masked(readable(words))
    assert time.process_time() - begun < 1
