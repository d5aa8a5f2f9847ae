"""Can the compute nodes execute steps of Dagster? Asked where a code location uses `hpc_executor`."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.cli.test_doctor import checks, levels


def location(folder: Path, target: str, *, python: str | None = None) -> None:
    """A code location whose executor has a runner that is no resource."""
    text = f"""\
        import dagster as dg
        from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget, SlurmTarget, hpc_executor
        runner = HPCJobRunner(target={target}, profiles={{"mine": ExecutionProfile()}}, work_root={str(folder / "work")!r})
        defs = dg.Definitions(executor=hpc_executor(runner, profile="mine", python={python!r}))
        """
    (folder / "step_location.py").write_text(textwrap.dedent(text))


@pytest.fixture
def home(terminal: Terminal) -> dict[str, str]:
    folder = terminal.folder / "dagster"
    folder.mkdir()
    (folder / "dagster.yaml").touch()
    return {"DAGSTER_HOME": str(folder)}


def test_here_sqlite_is_right(terminal: Terminal, home: dict[str, str]) -> None:
    location(terminal.folder, f"LocalTarget(spool={str(terminal.folder / 'spool')!r})")
    found = levels(terminal.json("doctor", "--module", "step_location", env=home))
    assert found["instance storage"] == "ok"
    assert "instance folder" not in found


def test_on_a_cluster_sqlite_is_wrong_and_folders_are_to_be_shared(terminal: Terminal, home: dict[str, str]) -> None:
    location(terminal.folder, "SlurmTarget()", python="/apps/gone/python")
    found = checks(terminal.json("doctor", "--module", "step_location", env=home, code=1))
    assert found["instance storage"]["level"] == "fail"
    assert "storage: postgres:" in found["instance storage"]["advice"]
    assert {found[name]["level"] for name in ("instance folder", "code folder", "step python")} == {"warn"}


def test_without_dagster_home_no_step_would_find_its_run(terminal: Terminal) -> None:
    location(terminal.folder, "LocalTarget()")
    found = checks(terminal.json("doctor", "--module", "step_location", code=1))
    assert found["instance storage"]["level"] == "fail"
    assert "DAGSTER_HOME is not set" in found["instance storage"]["sentence"]


@pytest.mark.needs("postgres")
def test_a_database_on_this_machine_alone_is_warned_of(
    terminal: Terminal, home: dict[str, str], postgres_url: str
) -> None:
    pytest.importorskip("dagster_postgres")
    config = Path(home["DAGSTER_HOME"], "dagster.yaml")
    config.write_text(f"storage:\n  postgres:\n    postgres_url: {postgres_url}\n")
    location(terminal.folder, "SlurmTarget()")
    found = checks(terminal.json("doctor", "--module", "step_location", env=home, code=1))
    assert found["instance storage"]["level"] == "warn"
    assert "127.0.0.1" in found["instance storage"]["sentence"]
