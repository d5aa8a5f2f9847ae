"""What a shell completes, asked as the shell asks; and the script that makes it ask, read by real shells."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dagster_hpc.engine.job import JobState
from tests.cli.terminal import Terminal, row

AS_INSTALLED = [sys.executable, "-c", "from dagster_hpc.cli.main import main; main(prog_name='dagster-hpc')"]


def completed(terminal: Terminal, line: str, *, ledger: str = "ledger.db") -> list[str]:
    """The words that are offered for the last word of this line."""
    words = f"dagster-hpc --ledger {ledger} {line}"
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1), "_DAGSTER_HPC_COMPLETE": "bash_complete"}
    done = subprocess.run(
        AS_INSTALLED, cwd=terminal.folder, env={**os.environ, **asked}, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return [item.partition(",")[2] for item in done.stdout.splitlines() if item]


@pytest.fixture
def filled(terminal: Terminal) -> Terminal:
    terminal.keep(
        row("abcdefgh", job_id="4711", asset_key="chem/energy", run_id="0f3c-1"),
        row("abcxwvut", job_id="99", target="miyabi", state=JobState.RUNNING),
        row("zyxwvuts.0", array_index=0, job_id="50_0"),
        row("zyxwvuts.1", array_index=1, job_id="50_1"),
    )
    return terminal


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("show abc", {"abcdefgh", "abcxwvut"}),
        ("logs 47", {"4711"}),
        ("explain abcd", {"abcdefgh"}),
        ("cancel abcdefgh 9", {"99"}),
        ("show zyx", {"zyxwvuts"}),
        ("show zyxwvuts.", {"zyxwvuts.0", "zyxwvuts.1"}),
        ("jobs --target m", {"miyabi"}),
        ("jobs --asset chem", {"chem/energy"}),
        ("jobs --run 0f", {"0f3c-1"}),
        ("jobs --state RUN", {"running"}),
        ("expl", {"explain"}),
    ],
)
def test_what_the_ledger_knows_is_offered(filled: Terminal, line: str, offered: set[str]) -> None:
    assert set(completed(filled, line)) == offered


def test_without_a_ledger_nothing_is_offered_and_nothing_said(terminal: Terminal) -> None:
    assert completed(terminal, "show abc", ledger="nowhere.db") == []


def test_bash_takes_the_script(terminal: Terminal) -> None:
    text = terminal.run("completion", "bash").stdout
    check = f"{text}\ncomplete -p dagster-hpc"

    done = subprocess.run(["bash", "-c", check], capture_output=True, text=True, timeout=60)

    assert text.startswith('# eval "$(dagster-hpc completion bash)" in ~/.bashrc\n')
    assert (done.returncode, "_dagster_hpc_completion" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_too(terminal: Terminal, shell: str) -> None:
    assert "_DAGSTER_HPC_COMPLETE" in terminal.run("completion", shell).stdout
