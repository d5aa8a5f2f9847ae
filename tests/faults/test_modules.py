"""`module load` with the real environment-modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_hpc import Command, JobFailed, JobState
from tests.faults.place import PLAIN, Place, fails

pytestmark = pytest.mark.needs("modules")


@pytest.fixture
def place_with_modules(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """It has two modules: one that loads, and one that a mistake of the site has broken."""
    folder = place.folder / "modulefiles"
    folder.mkdir()
    (folder / "good").write_text("#%Module\nsetenv FAULT_MODULE loaded\n")
    (folder / "broken").write_text("#%Module\nno-such-word\n")
    monkeypatch.setenv("MODULEPATH", str(folder))
    monkeypatch.setenv("HOME", str(place.folder))  # jobs with modules are login shells: not of whoever runs the tests
    return place


def test_what_a_module_sets_reaches_the_program(place_with_modules: Place) -> None:
    hpc = place_with_modules.runner(profile={"modules": ["good"]})
    result = hpc.run(Command.shell('echo "$FAULT_MODULE"'), profile=PLAIN)
    assert result.stdout_tail == "loaded"


@pytest.mark.parametrize("name", ["missing", "broken", "it's $(touch pwned)"])
def test_a_module_that_does_not_load_fails_the_job(place_with_modules: Place, name: str) -> None:
    hpc = place_with_modules.runner(profile={"modules": ["good", name]})
    seen = fails(place_with_modules, Command.shell("touch ran"), JobFailed, JobState.FAILED, runner=hpc)
    assert seen.result.reason == seen.row.reason == f"module load {name} failed with exit code 1"
    assert f"dagster_hpc: module load {name} failed" in seen.metadata["stderr_tail"]
    assert "ERROR" in seen.metadata["stderr_tail"]  # the module system's own words
    assert not Path(seen.row.work_dir, "ran").exists()
    assert not list(place_with_modules.folder.rglob("pwned"))
