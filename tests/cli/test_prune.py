"""Old jobs are forgotten when one says yes; nothing is forgotten that somebody may still need."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, Recipient
from dagster_hpc.engine.ledger.rows import encode_rows
from tests.cli.terminal import COMMAND, Terminal, row

LONG_AGO = time.time() - 40 * 86400


def old(token: str, **more: Any) -> JobRow:
    return row(token, **{"created_at": LONG_AGO, **more})


def left(terminal: Terminal) -> set[str]:
    return {one.token for one in terminal.ledger().jobs()}


def test_they_are_listed_and_nothing_happens_without_a_yes(terminal: Terminal) -> None:
    terminal.keep(old("aaaa2222"), row("bbbb3333"))

    done = terminal.run("prune")

    assert "aaaa2222" in done.stdout
    assert "bbbb3333" not in done.stdout
    assert "1 jobs would be forgotten; --yes does it" in done.stdout
    assert left(terminal) == {"aaaa2222", "bbbb3333"}
    assert "would be forgotten" in terminal.run("prune", "--yes", "--dry-run").stdout
    assert left(terminal) == {"aaaa2222", "bbbb3333"}


def test_old_ones_are_forgotten_and_live_lost_and_owed_ones_are_kept(terminal: Terminal) -> None:
    terminal.keep(
        old("done2222"),
        old("returned", identity="a"),
        old("owed2222", identity="b"),
        old("lost2222", identity="c", state=JobState.LOST),
        old("given222", state=JobState.LOST),
        old("live2222", state=JobState.RUNNING),
    )
    terminal.ledger().deliveries.returned(["returned"], Recipient("r1", "s1"))

    done = terminal.run("prune", "--yes")

    assert "3 jobs are forgotten" in done.stdout
    assert "2 jobs are kept: they are lost, or their results are owed" in done.stderr
    assert left(terminal) == {"owed2222", "lost2222", "live2222"}


def test_options_choose_and_an_array_goes_as_a_whole(terminal: Terminal) -> None:
    terminal.keep(
        old("well2222"),
        old("badly222", state=JobState.FAILED),
        old("mixed222.0"),
        old("mixed222.1", state=JobState.FAILED, array_index=1),
    )

    assert "0 jobs would" in terminal.run("prune", "--older-than", "60d").stdout
    terminal.run("prune", "--yes", "--state", "timeout")
    assert len(left(terminal)) == 4
    terminal.run("prune", "--yes", "--keep-failed")
    assert left(terminal) == {"badly222", "mixed222.0", "mixed222.1"}
    terminal.run("prune", "--yes", "--state", "failed")
    assert left(terminal) == {"mixed222.0", "mixed222.1"}
    terminal.run("prune", "--yes")
    assert left(terminal) == set()


def test_a_time_that_is_none_is_wrong_usage_in_a_sentence(terminal: Terminal) -> None:
    terminal.keep(old("aaaa2222"))
    done = terminal.run("prune", "--older-than", "soon")
    assert done.returncode == 1
    assert "--older-than: 'soon' is none of" in done.stderr


# -- directories


def directory(terminal: Terminal, token: str, *, of: str | None = None, rows: bool = True) -> Path:
    folder = terminal.folder / "work" / "count" / token
    (folder / ".job").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "data" / "big").write_text("x")
    if rows:
        (folder / ".job" / "row.json").write_bytes(encode_rows([old(of or token, work_dir=str(folder))]))
    return folder


def test_directories_are_removed_when_one_says_so_and_only_then(terminal: Terminal) -> None:
    first, second = directory(terminal, "aaaa2222"), directory(terminal, "bbbb3333")
    terminal.keep(old("aaaa2222", work_dir=str(first)))
    terminal.run("prune", "--yes")
    assert first.exists()

    terminal.keep(old("bbbb3333", work_dir=str(second)), old("gone4444", work_dir=str(second) + "x"))
    done = terminal.run("prune", "--yes", "--directories")

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 jobs are forgotten, and 1 directories are removed")
    assert not second.exists()
    assert second.parent.exists()


def test_a_directory_that_is_not_surely_ours_stays_and_so_does_its_job(terminal: Terminal) -> None:
    others = directory(terminal, "aaaa2222", of="zzzz9999")
    unmarked = directory(terminal, "bbbb3333", rows=False)
    renamed = directory(terminal, "homework", of="cccc4444")
    elsewhere = directory(terminal, "dddd5555")
    link = terminal.folder / "link" / "dddd5555"
    link.parent.mkdir()
    link.symlink_to(elsewhere)
    folders = {"aaaa2222": others, "bbbb3333": unmarked, "cccc4444": renamed, "dddd5555": link}
    terminal.keep(*(old(token, work_dir=str(folder)) for token, folder in folders.items()))

    done = terminal.run("prune", "--yes", "--directories")

    assert done.returncode == 1
    assert done.stderr.count("is not removed, and its job is kept") == 4
    assert all((folder / "data" / "big").exists() for folder in folders.values())
    assert left(terminal) == set(folders)


def test_a_link_in_a_directory_is_removed_and_what_it_leads_to_is_not(terminal: Terminal) -> None:
    folder = directory(terminal, "aaaa2222")
    precious = terminal.folder / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    (folder / "link").symlink_to(precious)
    (folder / "data" / "link").symlink_to(precious)
    terminal.keep(old("aaaa2222", work_dir=str(folder)))

    assert terminal.run("prune", "--yes", "--directories").returncode == 0

    assert not folder.exists()
    assert (precious / "file").exists()


def test_a_removal_that_breaks_off_can_be_repeated(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = directory(terminal, "aaaa2222")
    terminal.keep(old("aaaa2222", work_dir=str(folder)))
    broken = {"data"}

    def rmtree(path: Path) -> None:
        if path.name in broken:
            raise OSError(16, "Device or resource busy", str(path))
        real(path)

    real = shutil.rmtree
    monkeypatch.setattr("dagster_hpc.cli.prune.shutil.rmtree", rmtree)
    assert terminal.run("prune", "--yes", "--directories").returncode == 1
    broken.clear()
    assert terminal.run("prune", "--yes", "--directories").returncode == 0
    assert not folder.exists()


@pytest.mark.parametrize(("answer", "code", "said"), [("n", 1, "Aborted"), ("y", 0, "1 jobs are forgotten")])
def test_a_person_at_a_terminal_is_asked(terminal: Terminal, answer: str, code: int, said: str) -> None:
    terminal.keep(old("aaaa2222"))
    ours, theirs = pty.openpty()
    argv = [*COMMAND, "--ledger", terminal.url, "prune"]
    process = subprocess.Popen(argv, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())

    printed, _ = process.communicate(timeout=60)
    os.close(ours)

    assert process.returncode == code
    assert "Shall these 1 jobs be forgotten?" in printed
    assert said in printed
    assert bool(left(terminal)) == (answer == "n")
