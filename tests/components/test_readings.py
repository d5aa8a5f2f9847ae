"""What is read out of the files of a job: metadata, a table, a picture, asset checks; and the value stays the outputs."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from tests.components.project import Project, run
from tests.components.test_faults import complaint

SCF = """
  jobs:
    - asset: scf
      script: |
        echo "12 steps"
        echo '{"energy": -1.5, "converged": CONVERGED, "steps": [{"residual": 1e-9}]}' >result.json
        printf 'step,residual,note\\n1,0.5,a\\n2,0.1,b\\n' >steps.csv
      outputs: {result: result.json}
      values:
        steps: {pattern: '(\\d+) steps'}
        energy: {file: result.json, path: $.energy}
        converged: {file: result.json, path: converged}
        residual: {file: result.json, path: "$.steps[-1].residual"}
        last: {file: steps.csv, column: residual}
        convergence: {file: steps.csv, plot: [residual]}
        dipole: {file: result.json, path: $.dipole, optional: true}
      checks:
        converged: {equals: true, blocking: true}
        accurate: {value: residual, less_than: 1.0e-6}
        cheap: {value: steps, at_most: 5, severity: WARN}
"""


def test_values_are_metadata_and_answer_the_checks(project: Project, instance: dg.DagsterInstance) -> None:
    project.write(SCF.replace("CONVERGED", "true"))
    result = run(project.load(), instance)
    (made,) = result.asset_materializations_for_node("scf")
    said = {name: value.value for name, value in made.metadata.items()}
    assert {name: said[name] for name in ("steps", "energy", "converged", "residual", "last")} == {
        "steps": 12, "energy": -1.5, "converged": True, "residual": 1e-9, "last": 0.1
    }  # fmt: skip
    assert [record.data for record in said["convergence"].records] == [
        {"step": 1, "residual": 0.5, "note": "a"}, {"step": 2, "residual": 0.1, "note": "b"}
    ]  # fmt: skip
    assert str(said["convergence_plot"]).startswith("![convergence](data:image/png")
    assert "dipole" not in said
    answers = {each.check_name: (each.passed, each.severity.value) for each in result.get_asset_check_evaluations()}
    assert answers == {"converged": (True, "ERROR"), "accurate": (True, "ERROR"), "cheap": (False, "WARN")}


def test_the_value_of_the_asset_stays_its_outputs(project: Project, instance: dg.DagsterInstance) -> None:
    project.write(SCF.replace("CONVERGED", "true"))
    value = run(project.load(), instance).output_for_node("scf")
    assert [Path(path).name for path in value.values()] == ["result.json"]


def test_nothing_downstream_runs_where_a_blocking_check_has_failed(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.write(SCF.replace("CONVERGED", "false") + "    - {asset: told, script: echo, deps: [scf]}\n")
    result = run(project.load(), instance, ok=False)
    assert not result.asset_materializations_for_node("told")


def test_a_value_that_is_not_there_fails_the_step_with_what_is_there(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.write("""
      jobs:
        - asset: scf
          script: |
            echo '{"energies": 1}' >result.json
          values: {energy: {file: result.json, path: $.energy}}
    """)
    (failed,) = run(project.load(), instance, ok=False).get_step_failure_events()
    said = str(failed.step_failure_data.error)
    assert "its result.json has no 'energy': there is no key 'energy', did you mean 'energies'?" in said


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("values: {energy: {file: a.json, path: $.a, column: b}}", "the value 'energy' has path and column"),
        ("values: {energy: {path: $.a}}", "the value 'energy' has a path, and no file that it stands in"),
        ("values: {energy: {pattern: '('}}", "is no regular expression"),
        ("values: {energy: {file: a.json, path: '$.a['}}", "is no place in a JSON file"),
        ("{values: {energy: {pattern: a}}, checks: {enrgy: {less_than: 0}}}", "there is no value 'enrgy' to check"),
        ("{values: {energy: {pattern: a}}, checks: {energy: {}}}", "a check says nothing"),
    ],
)
def test_a_reading_that_cannot_be_is_told_with_its_line(project: Project, job: str, words: str) -> None:
    fields = job if job.startswith("{") else f"{{{job}}}"
    path = project.write("jobs:\n  - {asset: scf, script: echo, " + fields[1:])
    said = complaint(project)
    assert words in said
    assert f"{path}:6" in said
