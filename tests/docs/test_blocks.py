"""What the pages show is run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from dagster_hpc.engine.ledger import Ledger
from definitions import demo
from tests.docs.pages import COMMANDS, PAGES, RUN, SHOWN, SYSTEMS, Block, Page, page
from tests.docs.session import Session, Step, pattern, steps
from tests.systems.needs import REPOSITORY
from tests.systems.slurm import SlurmCluster

BLOCKS = [block for one in PAGES for block in one.blocks]
NOT_RUN = [block for block in BLOCKS if block.not_run is not None]


def pages(system: str | None) -> list[Page]:
    return [one for one in PAGES if system in one.systems]


def run(one: Page, system: str | None, folder: Path, names: dict[str, str]) -> None:
    """The session of a page on this system. Files of the other sessions are there too."""
    with Session(folder, names) as session:
        for block in one.blocks:
            session.write(block)
            if block.is_run and block.system == system:
                session.run(block)


def steps_of(block: Block) -> Iterable[Step]:
    return steps(block.text) if block.language in COMMANDS else ()


def nothing_lives() -> None:
    """The jobs of a page are over when its reader is at the end."""
    ledger = Ledger()
    try:
        assert ledger.jobs(live=True) == []
    finally:
        ledger.close()


@pytest.mark.parametrize("one", pages(None), ids=str)
def test_the_blocks_work(one: Page, folder: Path, names: dict[str, str]) -> None:
    run(one, None, folder, names)
    nothing_lives()


@pytest.mark.needs("slurm")
@pytest.mark.parametrize("one", pages("slurm"), ids=str)
def test_the_blocks_for_slurm_work_on_slurm(
    one: Page, folder: Path, names: dict[str, str], slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    run(one, "slurm", folder, {**names, "regular": "cpu", "accel": "gpu", "ab12": slurm.account})
    nothing_lives()


@pytest.mark.needs("postgres")
@pytest.mark.parametrize("one", pages("postgres"), ids=str)
def test_the_blocks_for_postgresql_work_on_postgresql(
    one: Page, folder: Path, names: dict[str, str], postgres_url: str
) -> None:
    run(one, "postgres", folder, {**names, "postgresql://dagster@db.example.org/hpc": postgres_url})


def test_make_demo_prints_what_the_readme_shows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`make demo` itself would make an environment first; what it then runs is this."""
    assert "-m definitions.demo" in (REPOSITORY / "Makefile").read_text()
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("DAGSTER_HOME", "set by the demo")  # and taken back after the test
    monkeypatch.setenv("DAGSTER_HPC_WORK_ROOT", str(folder / "work"))
    (shown,) = (step for block in page("README.md").blocks for step in steps_of(block) if step.command == "make demo")
    assert demo.main() == 0
    printed = capfd.readouterr().out
    assert pattern(shown.output).search(printed), printed


def test_make_targets_on_the_pages_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = {name for one in PAGES for name in re.findall(r"(?:`|\$ )make (\w+)", one.text)}
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_says_what_it_is(block: Block) -> None:
    assert block.language in (*RUN, *SHOWN)
    assert block.note.startswith("not run") or block.note in ("", *SYSTEMS)
    if block.language in COMMANDS:
        assert list(steps(block.text))


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_a_block_that_is_not_run_says_why(block: Block) -> None:
    assert block.language in RUN
    assert re.fullmatch(r"\w.{9,}", block.not_run or "")


def test_most_blocks_are_run() -> None:
    runnable = [block for block in BLOCKS if block.language in RUN]
    assert len(runnable) >= 30
    assert len(NOT_RUN) <= len(runnable) / 4
    assert sum(block.system == "slurm" for block in BLOCKS) >= 4


def test_no_fence_escapes_the_tests() -> None:
    """A block that is indented or never closed would be taken for text."""
    for one in PAGES:
        fences = [line for line in one.text.splitlines() if "```" in line]
        assert len(fences) == 2 * len(one.blocks), one
        assert all(line.startswith("```") for line in fences), one
