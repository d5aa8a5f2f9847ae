"""What unmodified programs print and write becomes metadata, checks and a value."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import (
    Command,
    ConfigurationError,
    Expect,
    HPCJobRunner,
    JobHandle,
    JobResult,
    JobState,
    from_all,
    from_csv,
    from_json,
    from_stdout,
    from_text,
    hpc_asset,
)
from dagster_hpc.assets.binding import source_of

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


# What a program writes into files.


def written(job: JobResult, name: str, text: str) -> JobResult:
    Path(job.handle.work_dir, name).write_text(text)
    return job


def answers(result: dg.MaterializeResult[Any]) -> dict[str, bool]:
    return {str(check.check_name): check.passed for check in result.check_results or ()}


def test_a_text_file_is_read_like_the_output(job: JobResult) -> None:
    said = from_text("scf.log", {"energy": ENERGY}, checks={"fine": "fine"}, value="energy")(
        written(job, "scf.log", "E = -1.5D+00\n")
    )
    assert (said.value, answers(said)) == (-1.5, {"fine": False})
    with pytest.raises(dg.Failure, match=r"no line of its scf\.log has 'steps'"):
        from_text("scf.log", {"steps": r"(\d+) steps"})(job)


PLACES = {
    "$.energy": -1.5,
    "energy": -1.5,
    "$.steps[-1].residual": 0.1,
    "steps[0].residual": 0.5,
    '$["a key"].b': True,
    "$": {"energy": -1.5, "steps": [{"residual": 0.5}, {"residual": 0.1}], "a key": {"b": True}},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_place_in_a_json_file_names_a_value(job: JobResult, place: str) -> None:
    written(job, "result.json", json.dumps(PLACES["$"]))
    assert from_json("result.json", {"it": place}, value="it")(job).value == PLACES[place]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("enery", "there is no key 'enery', did you mean 'energy'?"),
        ("steps[2]", "there is no 2 in a value of type list"),
        ("energy.unit", "there is no 'unit' in a value of type float"),
        ("nothing", "it is null"),
    ],
)
def test_a_place_that_is_not_there_is_told_unless_it_is_optional(job: JobResult, place: str, words: str) -> None:
    written(job, "result.json", '{"energy": -1.5, "steps": [1, 2], "nothing": null}')
    with pytest.raises(dg.Failure, match=re.escape(words)):
        from_json("result.json", {"it": place})(job)
    assert plain(from_json("result.json", {"it": place}, optional=["it"])(job)) == {}


def test_a_json_file_that_is_none_is_told_with_its_line(job: JobResult) -> None:
    with pytest.raises(dg.Failure, match=r"its result\.json cannot be read: Expecting .* line 2"):
        from_json("result.json", {"it": "$"})(written(job, "result.json", "{\n"))


@pytest.mark.parametrize("place", ["$.a[", "a]b", "$..", "a[x]"])
def test_a_place_that_cannot_be_is_an_error_at_the_definition(place: str) -> None:
    with pytest.raises(ConfigurationError, match="is no place in a JSON file"):
        from_json("result.json", {"it": place})


TABLE = "step, residual, note\n1, 0.5, begun\n2, 1D-3,\n"


def test_a_csv_file_gives_the_last_value_of_a_column_its_rows_and_a_picture(job: JobResult) -> None:
    said = from_csv("steps.csv", {"last": "residual"}, table="course", plot=["residual"])(written(job, "steps.csv", TABLE))
    shown = plain(said)
    assert said.value == {"last": 0.001}
    assert [record.data for record in shown["course"].records] == [
        {"step": 1, "residual": 0.5, "note": "begun"}, {"step": 2, "residual": 0.001, "note": None}
    ]  # fmt: skip
    assert shown["course_plot"].startswith("![course](data:image/png")


def test_of_a_long_table_the_last_rows_are_shown(job: JobResult) -> None:
    rows = "".join(f"{step}\n" for step in range(1000))
    shown = plain(from_csv("steps.csv", table="course")(written(job, "steps.csv", "step\n" + rows)))
    assert [record.data["step"] for record in shown["course"].records] == list(range(800, 1000))


def test_an_unknown_column_and_an_empty_file_are_told(job: JobResult) -> None:
    with pytest.raises(dg.Failure, match=r"has no column 'residul': did you mean 'residual'\?"):
        from_csv("steps.csv", {"last": "residul"})(written(job, "steps.csv", TABLE))
    with pytest.raises(dg.Failure, match="has no row with a 'step'"):
        from_csv("steps.csv", {"last": "step"})(written(job, "steps.csv", "step\n"))


def test_several_collectors_are_one_whose_checks_see_all_values(job: JobResult) -> None:
    written(printed(job, "E = -1.5\n"), "result.json", '{"converged": true, "residual": NaN}')
    read = from_all(
        from_stdout({"energy": ENERGY}),
        from_json("result.json", {"converged": "converged", "residual": "residual"}),
        checks={
            "converged": Expect(equals=True),
            "bound": Expect("energy", less_than=-1, at_least=-2),
            "residual": Expect(at_most=1),
            "absent": Expect(equals=0),
        },
        value="energy",
    )
    said = read(job)
    assert said.value == -1.5
    assert answers(said) == {"converged": True, "bound": True, "residual": False, "absent": False}


@pytest.mark.parametrize(
    ("expected", "value", "holds"),
    [
        (Expect(equals=1), True, False), (Expect(equals=1), 1.0, True), (Expect(equals="done"), "done", True),
        (Expect(less_than=1), 1, False), (Expect(at_most=1), 1, True), (Expect(more_than=1), "2", False),
        (Expect(at_least=1), None, False), (Expect(more_than=0), True, False),
    ],
)  # fmt: skip
def test_what_is_expected_holds_or_not(expected: Expect, value: Any, holds: bool) -> None:
    assert expected.holds(value) is holds


def test_the_code_version_follows_what_a_collector_looks_for() -> None:
    def version(pattern: str) -> str:
        return source_of(from_stdout({"energy": pattern}))

    assert version(ENERGY) == version(ENERGY)
    assert version(ENERGY) != version(r"energy (\S+)")
