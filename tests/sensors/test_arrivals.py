"""When a file is new, and when it is complete."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from dagster_hpc.sensors.arrivals import Inbox, Look, Memory, is_partition_key, ranges

SETTLED_S = 60.0


class Folder:
    """A folder that is looked at now and then."""

    def __init__(self, path: Path, **options: object) -> None:
        self.path, self.now = path, os.stat(path).st_mtime + 1000.0
        self.inbox = replace(Inbox(str(path), settled_after_s=SETTLED_S), **options)
        self.memory, self.known, self.asked = Memory(), set[str](), 0

    def put(self, name: str, text: str = "x") -> None:
        (self.path / name).write_text(text)

    def look(self, after_s: float = SETTLED_S) -> Look:
        self.now += after_s

        def known() -> Collection[str]:
            self.asked += 1
            return self.known

        return self.inbox.look(Memory.decode(self.memory.encode()), known, self.now)

    def complete(self, after_s: float = SETTLED_S) -> list[str]:
        """The files that are taken at this look."""
        found = self.look(after_s)
        self.memory = found.after
        self.known |= set(found.complete)
        return list(found.complete)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_file_is_taken_at_the_second_look_that_finds_it_as_it_was(folder: Folder) -> None:
    folder.put("a")
    assert folder.complete() == []
    assert folder.complete() == ["a"]
    assert folder.complete() == []


def test_a_file_that_grows_is_not_complete(folder: Folder) -> None:
    folder.put("a", "1")
    folder.complete()
    folder.put("a", "12")
    assert folder.complete() == []
    assert folder.complete(SETTLED_S - 1) == []
    assert folder.complete(1) == ["a"]


def test_a_file_that_is_gone_again_was_none(folder: Folder) -> None:
    folder.put("a")
    folder.complete()
    (folder.path / "a").unlink()
    assert folder.complete() == []
    assert folder.memory.seen == {}


def test_with_a_marker_a_file_is_complete_when_the_marker_is_there(tmp_path: Path) -> None:
    folder = Folder(tmp_path, marker=".done")
    folder.put("a")
    assert [folder.complete(), folder.complete()] == [[], []]
    folder.put("a.done")
    assert [folder.complete(1), folder.complete(1)] == [[], ["a"]]


def test_folders_hidden_files_and_other_names_are_left_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path, pattern="*.dat")
    (tmp_path / "folder.dat").mkdir()
    for name in (".hidden.dat", "a.txt", "a.dat"):
        folder.put(name)
    folder.complete()
    assert folder.complete() == ["a.dat"]


def test_names_that_no_partition_can_have_are_told_and_left(folder: Folder) -> None:
    folder.put("a...b")
    (folder.path / os.fsdecode(b"caf\xe9")).write_text("")
    folder.put("good")
    assert sorted(folder.look().unfit) == sorted(["a...b", os.fsdecode(b"caf\xe9")])
    folder.complete()
    assert folder.complete() == ["good"]


def test_a_look_takes_so_many_and_the_next_goes_on(tmp_path: Path) -> None:
    folder = Folder(tmp_path, at_most=3)
    for number in range(7):
        folder.put(f"f{number}")
    taken = [folder.complete() for _ in range(8)]
    assert [len(each) for each in taken if each] == [3, 3, 1]
    assert len({name for each in taken for name in each}) == 7


def test_a_folder_that_has_not_changed_is_not_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.put("a")
    folder.complete()
    folder.complete()
    asked = folder.asked
    monkeypatch.setattr(os, "scandir", lambda path: pytest.fail("it was read"))
    folder.complete(1)
    assert folder.asked == asked
    monkeypatch.undo()
    folder.put("b")
    folder.complete(1)
    assert folder.complete() == ["b"]


def test_a_folder_that_changed_a_moment_ago_is_read_again(folder: Folder) -> None:
    """Its time may be in whole seconds: what comes in the same second does not show in it."""
    folder.now = os.stat(folder.path).st_mtime
    folder.complete(1)
    was = os.stat(folder.path)
    folder.put("a")
    os.utime(folder.path, ns=(was.st_atime_ns, was.st_mtime_ns))
    folder.complete(1)
    assert "a" in folder.memory.seen


def test_a_folder_that_is_not_there_is_an_error_of_the_file_system(folder: Folder) -> None:
    folder.path.rmdir()
    with pytest.raises(FileNotFoundError):
        folder.look()


@pytest.mark.parametrize("name", ["a b", "ä.dat", "a..b", "[1,2]", "x" * 255])
def test_most_names_are_partition_keys(name: str) -> None:
    assert is_partition_key(name)


@pytest.mark.parametrize(
    ("known", "wanted", "found"),
    [
        ([], ["a", "b"], [("a", "b")]),
        (["x"], ["a"], [("a", "a")]),
        (["a", "b"], ["a", "b", "c"], [("a", "c")]),  # a crash came after two of them were added
        (["b", "x", "a"], ["a", "b", "c"], [("b", "b"), ("a", "c")]),
        (["x"], [], []),
    ],
)
def test_partitions_that_are_wanted_form_ranges_in_the_order_in_which_they_were_added(
    known: list[str], wanted: list[str], found: list[tuple[str, str]]
) -> None:
    assert ranges(known, wanted) == found
