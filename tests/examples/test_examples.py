"""The examples run as a reader runs them, here and on a real Slurm; and none is longer than what it answers to."""

from __future__ import annotations

import ast
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.place import Place
from tests.systems.needs import REPOSITORY

EXAMPLES = REPOSITORY / "examples"

# Lines of code of the originals, as their pages show them: without blank lines, comments and docstrings.
ORIGINALS = {
    "chains.py": 8 + 8,  # executorlib's chain; and its pair of scripts that disconnects and finds its results again
    "nested.py": 10,  # executorlib's executor inside an executor
    "climate.py": 18,  # reflow's pipeline, which ends with the fan-out
}

Run = Callable[..., str]


@pytest.fixture
def run(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """One of the examples, in a copy of their folder; what it prints."""
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))  # the ledger lies there too
    environment = {
        **os.environ,
        "DAGSTER_HPC_TARGET": place.kind,
        "DAGSTER_HPC_WORK_ROOT": str(tmp_path / "work"),
        "PYTHONPATH": str(REPOSITORY),
    }

    def run(*words: str) -> str:
        done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {row.target.partition("@")[0] for row in place.rows()} == {place.kind}
        return done.stdout

    return run


def test_a_chain_goes_on_without_the_process_that_submitted_it(run: Run, place: Place) -> None:
    assert run("chains.py", "submit") == ""
    submitted = batches(place)
    assert len(submitted) == 4
    assert run("chains.py") == "22\n"
    assert batches(place) == submitted


def test_a_function_shares_the_cores_of_its_job(run: Run) -> None:
    assert run("nested.py") == "[0, 2, 4, 6]\n"


def test_a_pipeline_fans_out_over_files_and_gathers(run: Run, place: Place, tmp_path: Path) -> None:
    (tmp_path / "run1" / "input").mkdir(parents=True)
    for name in ("a.nc", "b.nc", "c.nc"):
        (tmp_path / "run1" / "input" / name).touch()
    config = f'{{"ops": {{"prepare": {{"config": {{"run_dir": "{tmp_path / "run1"}"}}}}}}}}'
    run("-m", "dagster", "asset", "materialize", "--select", "*", "-f", "climate.py", "--config-json", config)
    stored = tmp_path / "home" / "storage" / "gather"
    assert pickle.loads(stored.read_bytes()) == "a.nc b.nc c.nc"
    assert len(batches(place)) == 3  # the files together are one array


@pytest.mark.parametrize("name", ORIGINALS)
def test_an_example_is_no_longer_than_the_original(name: str) -> None:
    assert code_lines((EXAMPLES / name).read_text()) <= ORIGINALS[name]


def batches(place: Place) -> set[str]:
    """What was submitted, an array once."""
    return {row.batch for row in place.rows()}


def code_lines(text: str) -> int:
    """Lines that hold code: no blank ones, comments or docstrings."""
    docstrings = set[int]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            docstrings.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in docstrings for n, line in lines)
