"""A folder for jobs that is missing, closed or full."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from dagster_hpc import Command, ConfigurationError, JobFailed, JobState
from tests.faults.place import PLAIN, Place, fails, over, run_failing, told

TRUE = Command("/bin/true")


def test_a_missing_one_is_made(place: Place) -> None:
    root = place.folder / "not" / "yet" / "there"
    result = place.runner(work_root=str(root)).run(TRUE, profile=PLAIN)
    assert result.succeeded
    assert Path(result.handle.work_dir).is_relative_to(root)


def test_one_below_a_file(place: Place) -> None:
    file = place.folder / "file"
    file.write_text("")
    refused(place, file / "work", "Not a directory")


def test_one_that_is_read_only(place: Place, small_disk: Callable[[str], Path]) -> None:
    refused(place, small_disk("ro") / "work", "Read-only file system")


def test_one_that_is_full(place: Place, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("size=64k")
    (disk / "ballast").write_bytes(b"x" * 64 * 1024)
    refused(place, disk / "work", "No space left on device")


def refused(place: Place, root: Path, words: str) -> None:
    hpc = place.runner(work_root=str(root))
    seen = fails(place, TRUE, ConfigurationError, JobState.REFUSED, runner=hpc)
    assert words in seen.text
    assert str(root) in seen.text
    assert "check that work_root is writable and not full" in seen.text
    assert words in seen.row.reason
    error = run_failing(lambda: hpc.run(TRUE, profile=PLAIN, key="k"), ConfigurationError)  # outside Dagster too
    row = place.rows()[0]
    told(error, row)
    over(place, row.token, JobState.REFUSED)
    assert place.submitted() == []


def test_one_that_fills_while_the_job_runs(place: Place, small_disk: Callable[[str], Path]) -> None:
    hpc = place.runner(work_root=str(small_disk("size=1m") / "work"))
    script = "echo early words >&2; head -c 2M /dev/zero >big"
    seen = fails(place, Command.shell(script), JobFailed, JobState.FAILED, runner=hpc)
    assert "early words" in seen.metadata["stderr_tail"]


def test_one_that_is_full_when_the_job_starts(place: Place, small_disk: Callable[[str], Path]) -> None:
    """Its script cannot write a byte: that must not look like success, nor like a second copy of the job."""
    disk = small_disk("size=1m")
    hpc = place.runner(work_root=str(disk / "work"), **place.keep_waiting())
    handle = hpc.submit(Command.shell("touch ran"), profile=PLAIN)
    with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while ballast.write(b"x" * 4096):
            pass
    place.let_go(handle.job_id)
    error = run_failing(lambda: hpc.wait(handle), JobFailed)
    assert error.result.exit_code == 73  # the words for it had no room
    assert "is the disk full" in error.result.reason
    told(error, place.rows()[0])
    over(place, handle.token, JobState.FAILED)
