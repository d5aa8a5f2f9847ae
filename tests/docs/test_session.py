"""The tests of the pages would notice what is wrong on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import Block
from tests.docs.session import Session, Step, pattern, steps


def block(language: str, text: str) -> Block:
    return Block("page.md", 1, language, text, "")


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("k7m2x9qd  1  COMPLETED  local@laptop", "5dk647j5   12 COMPLETED  local@node-7.site"),
        ("3    COMPLETED", "3 FAILED"),
        ("hello\nworld", "world\nhello"),
        ("hello…world", "hello"),
    ],
)
def test_what_was_not_printed_is_noticed(shown: str, printed: str) -> None:
    assert not pattern(shown.splitlines()).search(printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("k7m2x9qd  1  COMPLETED  local@laptop", "5dk647j5   1 COMPLETED  local@node-7.site"),
        ("0.8s ago   0.0s  (a.b)", "4m05s ago  3h10m00s  (a.b)"),
        ("14.3 MiB  0.06 s", "7.1 MiB 12.00 s"),
        ("first\n…\nlast", "first\n1\n2\nlast"),
        ("", "anything"),
    ],
)
def test_what_varies_from_run_to_run_is_let_pass(shown: str, printed: str) -> None:
    assert pattern(shown.splitlines()).search(printed)


def test_a_console_block_is_commands_and_their_output() -> None:
    assert list(steps("$ echo 1 \\\n  2\n1 2\n$ true\n")) == [Step("echo 1 \\\n  2", ["1 2"]), Step("true", [])]


@pytest.mark.parametrize("text", ["$ false\n", "$ echo one\ntwo\n", "no command\n"])
def test_a_command_that_fails_or_prints_something_else_is_noticed(text: str, tmp_path: Path) -> None:
    with Session(tmp_path, {}) as session, pytest.raises(AssertionError):
        session.run(block("console", text))


def test_a_python_block_becomes_the_file_that_it_names(tmp_path: Path) -> None:
    with Session(tmp_path, {"/apps": "/opt"}) as session:
        example = block("python", '# example_of_a_page.py\nwhere = "/apps/x"\n')
        session.write(example)
        session.run(example)
        session.run(block("python", 'from example_of_a_page import where\nassert where == "/opt/x"\n'))
        with pytest.raises(AssertionError):
            session.run(block("python", 'assert where == "elsewhere"\n'))
