"""What unmodified programs print becomes metadata, checks and a value."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import (
    Command,
    ConfigurationError,
    HPCJobRunner,
    JobHandle,
    JobResult,
    JobState,
    from_stdout,
    hpc_asset,
)

ENERGY = r"E\s*=\s*(\S+)"


@pytest.fixture
def job(tmp_path: Path) -> JobResult:
    """A job that ended well, before anybody has written its output."""
    return JobResult(JobHandle("k7m2x9qd", "1", str(tmp_path), "local", "scf"), JobState.COMPLETED, 0)


def printed(job: JobResult, text: str) -> JobResult:
    Path(job.handle.work_dir, "stdout.log").write_text(text)
    return job


def plain(result: dg.MaterializeResult[Any]) -> dict[str, Any]:
    return {name: value.value for name, value in (result.metadata or {}).items()}  # type: ignore[union-attr]


def test_the_last_match_counts_and_numbers_are_numbers(job: JobResult) -> None:
    said = from_stdout({"energy": ENERGY, "steps": r"(\d+) steps", "basis": r"basis (\S+)", "cpu": r"cpu (\S+)"})(
        printed(job, "E = -1.0\nbasis sto-3g\n12 steps\nE = -1.5\ncpu 1.5D-03\n")
    )
    assert plain(said) == {"energy": -1.5, "steps": 12, "basis": "sto-3g", "cpu": 0.0015}
    assert said.value == {"energy": -1.5, "steps": 12, "basis": "sto-3g", "cpu": 0.0015}


def test_named_groups_are_values_of_their_own(job: JobResult) -> None:
    said = from_stdout({"line": r"(?P<alpha>\d+) alpha, (?P<beta>\d+) beta"})(printed(job, "5 alpha, 4 beta\n"))
    assert plain(said) == {"alpha": 5, "beta": 4}


def test_checks_pass_where_a_line_matches(job: JobResult) -> None:
    said = from_stdout(checks={"converged": "SCF converged", "stable": "is stable"})(printed(job, "SCF converged in 7\n"))
    checks = {check.check_name: check for check in said.check_results or ()}
    assert {name: check.passed for name, check in checks.items()} == {"converged": True, "stable": False}
    assert checks["converged"].metadata["line"].value == "SCF converged in 7"


def test_json_lines_report_metadata_and_checks(job: JobResult) -> None:
    text = """starting
{"metadata": {"energy": -1.0, "roots": [1, 2]}}
{ not json
{"metadata": {"energy": -1.5, "lost": NaN}}
{"check": "converged", "passed": false, "severity": "WARN", "metadata": {"residual": 0.1}}
"""
    said = from_stdout(json_lines=True)(printed(job, text))
    assert plain(said) == {"energy": -1.5, "roots": [1, 2], "lost": None}
    (check,) = said.check_results or ()
    assert (check.check_name, check.passed, check.severity) == ("converged", False, dg.AssetCheckSeverity.WARN)
    assert check.metadata["residual"].value == 0.1


def test_a_number_that_is_none_stays_readable_for_the_ui(job: JobResult) -> None:
    said = from_stdout({"energy": ENERGY}, value="energy")(printed(job, "E = NaN\n"))
    assert plain(said) == {"energy": None}
    assert math.isnan(said.value)


def test_a_pattern_that_matches_nothing_is_a_failure_unless_it_is_optional(job: JobResult) -> None:
    printed(job, "nothing\n")
    with pytest.raises(dg.Failure, match=r"no line of its stdout.log has 'energy' \(E\\s"):
        from_stdout({"energy": ENERGY})(job)
    assert plain(from_stdout({"energy": ENERGY}, optional=["energy"])(job)) == {}
    with pytest.raises(dg.Failure, match="'energy'"):
        from_stdout(json_lines=True, value="energy")(job)


def test_the_whole_output_is_read_not_only_its_end(job: JobResult) -> None:
    text = "E = -1.5\n" + "x" * 99 + "\n" + "progress 1%\rprogress 2%\rN = 3\r" * 200_000
    said = from_stdout({"energy": ENERGY, "n": r"^N = (\d)$"})(printed(job, text))
    assert plain(said) == {"energy": -1.5, "n": 3}


def test_long_texts_are_cut(job: JobResult) -> None:
    said = from_stdout({"word": r"word (\S+)"}, checks={"word": "word"})(printed(job, "word " + "x" * 3_000_000))
    assert len(plain(said)["word"]) == 1000
    assert len((said.check_results or ())[0].metadata["line"].value) == 1000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"patterns": {"e": "("}}, "the pattern of 'e' is no regular expression"),
        ({"patterns": {"e": "(a)(b)"}}, "the pattern of 'e' has 2 groups"),
        ({"patterns": {"energy": "x"}, "optional": ["enrgy"]}, "did you mean 'energy'?"),
    ],
)
def test_what_is_wrong_is_said_at_definition(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words.replace("?", r"\?")):
        from_stdout(**arguments)


def test_of_several_jobs_there_is_a_table_and_a_check_for_all(tmp_path: Path, job: JobResult) -> None:
    results = []
    for index, text in enumerate(["E = -1.5\nfine\n", "E = -2\n"]):
        (tmp_path / str(index)).mkdir()
        handle = replace(job.handle, work_dir=str(tmp_path / str(index)))
        results.append(printed(replace(job, handle=handle), text))
    said = from_stdout({"energy": ENERGY}, checks={"fine": "fine"}, value="energy")(results)
    assert said.value == [-1.5, -2]
    table = (said.metadata or {})["results"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data for record in table.records] == [{"element": 0, "energy": -1.5}, {"element": 1, "energy": -2}]
    (check,) = said.check_results or ()
    assert (check.passed, check.metadata["elements_that_failed"].value) == (False, [1])


def test_an_asset_of_a_program_that_nobody_changed(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small", collect=from_stdout({"energy": ENERGY}, value="energy"))
    def scf() -> Command:
        return Command("/bin/echo", args=["E = -1.5"])

    result = dg.materialize([scf], resources={"hpc": hpc})

    assert result.output_for_node("scf") == -1.5
    metadata = result.get_asset_materialization_events()[0].materialization.metadata
    assert (metadata["energy"].value, metadata["state"].value) == (-1.5, "COMPLETED")
