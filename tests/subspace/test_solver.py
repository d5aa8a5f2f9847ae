"""What every solver gets from `SubspaceSolver`, shown with one of a few lines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagster_hpc import ConfigurationError, HPCJobRunner
from dagster_hpc.dice import DiceSolver, EmbeddedSolver
from dagster_hpc.sbd import SBDSolver
from dagster_hpc.subspace import (
    AnswerInvalid,
    Check,
    NoAnswer,
    Problem,
    StatelessResult,
    Subspace,
    SubspaceSolver,
    SubspacesUnanswered,
)
from tests.dice.test_solver import local_runner, problem

hpc = pytest.fixture(local_runner, name="hpc")


class LowestDiagonal(SubspaceSolver):
    """The energy of the lowest of the given determinants, by a program that reads one string for each."""

    profile: str = "dice-mpi"
    script: str = "sort -n strings.txt | head -n 1 >lowest.txt"
    shift: float = 0.0

    @property
    def name(self) -> str:
        return "lowest"

    def input_files(self, subspace: Subspace, problem: Problem) -> dict[str, bytes]:
        if not len(subspace.alpha):
            raise ConfigurationError("there is no alpha string")
        return {"strings.txt": "".join(f"{int(string)}\n" for string in subspace.alpha).encode()}

    def words(self, problem: Problem) -> list[str]:
        return ["sh", "-c", self.script]

    def outputs(self) -> dict[str, str]:
        return {"lowest": "lowest.txt"}

    def read(self, folder: Path, subspace: Subspace, problem: Problem) -> StatelessResult:
        text = (folder / "lowest.txt").read_text()
        if "refused" in text:
            raise NoAnswer("refused")
        if not text.strip().isdigit():
            raise AnswerInvalid([Check("number", False, f"{text.strip()!r} is no number")], str(folder))
        none = np.zeros(problem.norb)
        strings = np.array([int(text)])
        return StatelessResult(-float(text) + self.shift, (none, none), (strings, strings), dimension=1)


def asked(hpc: HPCJobRunner) -> tuple[Any, ...]:
    return problem("lih_sto3g")[1:]


def test_a_solver_of_ones_own_runs_like_the_others(hpc: HPCJobRunner) -> None:
    runs = LowestDiagonal(hpc=hpc).runs([([9, 5], [3]), ([6], [3])], *asked(hpc))
    assert [(run.result.energy, run.solver, len(run.jobs)) for run in runs] == [(-5, "lowest", 1), (-6, "lowest", 1)]
    assert len({hpc.target.scheduler.array_id(run.jobs[0].handle.job_id or "") for run in runs}) == 1
    as_function = LowestDiagonal(hpc=hpc).as_sci_solver()
    (found,) = as_function([([3], [3])], *asked(hpc))  # type: ignore[list-item]
    assert (found.energy, found.sci_state, found.carryover[0].tolist()) == (-3, None, [3])


def test_its_inputs_are_refused_before_anything_is_submitted(hpc: HPCJobRunner) -> None:
    with pytest.raises(ConfigurationError, match="there is no alpha string"):
        LowestDiagonal(hpc=hpc).solve(([], [3]), *asked(hpc))
    assert hpc.jobs() == []


def test_what_it_cannot_do_the_embedded_solver_does(hpc: HPCJobRunner) -> None:
    solver = LowestDiagonal(hpc=hpc, script="echo refused >lowest.txt")
    with pytest.warns(UserWarning, match="the embedded solver takes over"):
        (run,) = solver.runs([([3, 5], [3])], *asked(hpc))
    assert (run.solver, run.result.dimension, len(run.jobs)) == ("embedded", 2, 2)


def test_without_a_fallback_its_own_error_is_raised(hpc: HPCJobRunner) -> None:
    solver = LowestDiagonal(hpc=hpc, script="echo nonsense >lowest.txt", fallback=False, max_retries=1)
    with pytest.warns(UserWarning, match="tried again"), pytest.raises(AnswerInvalid, match="'nonsense' is no number"):
        solver.solve(([3], [3]), *asked(hpc))


def test_a_rejected_job_is_no_answer_for_the_next_who_asks(hpc: HPCJobRunner, tmp_path: Path) -> None:
    """Its job ended well; but it stands for nothing once the whole call came to nothing."""
    script = f"cat {tmp_path}/answer >lowest.txt"
    solver = LowestDiagonal(hpc=hpc, script=script, fallback=False, max_retries=0)
    how: dict[str, Any] = {"key": "one", "reuse": "succeeded"}
    (tmp_path / "answer").write_text("nonsense")
    with pytest.raises(AnswerInvalid):
        solver.solve(([3], [3]), *asked(hpc), **how)
    (tmp_path / "answer").write_text("7")
    assert solver.solve(([3], [3]), *asked(hpc), **how).energy == -7
    (tmp_path / "answer").write_text("8")
    assert solver.solve(([3], [3]), *asked(hpc), **how).energy == -7  # that one is kept


def test_the_error_of_a_batch_names_each_subspace(hpc: HPCJobRunner) -> None:
    script = "grep -q 9 strings.txt && echo refused >lowest.txt || cp strings.txt lowest.txt"
    solver = LowestDiagonal(hpc=hpc, script=script, fallback=False)
    with pytest.raises(SubspacesUnanswered, match="2 of 3 subspaces have no answer:\n- subspace 0: refused") as caught:
        solver.runs([([9], [3]), ([5], [3]), ([9], [5])], *asked(hpc))
    assert [run and run.result.energy for run in caught.value.runs] == [None, -5, None]
    assert 'reuse="succeeded"' in caught.value.advice


def test_the_wanted_spin_of_an_answer_that_tells_none_is_a_warning(hpc: HPCJobRunner) -> None:
    with pytest.warns(UserWarning, match="'lowest' does not tell <S²> of the lowest state; 0 is wanted"):
        LowestDiagonal(hpc=hpc, spin_sq=0.0).solve(([3], [3]), *asked(hpc))


# -- identity: what decides the numbers


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "Dice"
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_another_program_under_the_same_key_is_another_solver(hpc: HPCJobRunner, tmp_path: Path) -> None:
    hpc.target.executable_map["dice"] = program(tmp_path, "exit 1")
    dice = DiceSolver(hpc=hpc, executable="dice")
    before = dice.identity()
    assert before == DiceSolver(hpc=hpc, executable="dice", profile="other", max_retries=7, isolation="none").identity()
    program(tmp_path, "exit 2")
    assert dice.identity() != before
    assert before["programs"].keys() == {str(tmp_path / "Dice")}


def test_settings_that_decide_numbers_are_in_it(hpc: HPCJobRunner, tmp_path: Path) -> None:
    template = tmp_path / "input.j2"
    template.write_text("nroots 1")
    solvers = [
        EmbeddedSolver(hpc=hpc), EmbeddedSolver(hpc=hpc, select_cutoff=1e-3), EmbeddedSolver(hpc=hpc, seed=3),
        EmbeddedSolver(hpc=hpc, spin_sq=0.0), EmbeddedSolver(hpc=hpc, input_template=str(template)),
        SBDSolver(hpc=hpc, executable="/apps/no/diag"), LowestDiagonal(hpc=hpc), LowestDiagonal(hpc=hpc, shift=1.0),
    ]  # fmt: skip
    identities = [repr(solver.identity()) for solver in solvers]
    assert len(set(identities)) == len(identities)
    assert DiceSolver(hpc=hpc).identity() == EmbeddedSolver(hpc=hpc).identity()
    assert SBDSolver(hpc=hpc, executable="/apps/no/diag").identity()["programs"] == {"/apps/no/diag": None}
    template.write_text("nroots 2")
    assert repr(solvers[4].identity()) != identities[4]


def test_a_job_of_another_program_is_another_job(hpc: HPCJobRunner, tmp_path: Path) -> None:
    """Under the same path, with the same key: its answer may be another one."""
    embedded = f"exec {sys.executable} -m dagster_hpc.dice.pyscf_solver"
    how: dict[str, Any] = {"key": "lih", "reuse": "succeeded"}
    dice = DiceSolver(hpc=hpc, executable=program(tmp_path, embedded), isolation="none")
    strings, *rest = problem("lih_sto3g")
    first, again = (dice.runs([strings], *rest, **how)[0].jobs[0].handle.token for _ in range(2))
    assert first == again
    program(tmp_path, f"# version 2\n{embedded}")
    assert dice.runs([strings], *rest, **how)[0].jobs[0].handle.token != first
