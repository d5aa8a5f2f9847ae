"""The spin that is wanted is asked for where the solver can, and judged in every case."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import dagster as dg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd import Molecule, SQDResult, run_sqd, sample_bitstrings
from dagster_hpc.sqd.checks import Finding, findings
from dagster_hpc.sqd.curve import curve_metadata
from dagster_hpc.sqd.spin import judge_spin, lowest_spin_sq

fermion = pytest.importorskip("qiskit_addon_sqd.fermion")

# Two electrons in two orbitals of equal energy: the lowest state with as many alpha as beta electrons is a triplet.
O2 = Molecule(geometry="O 0 0 0; O 0 0 1.21", basis="sto-3g", spin=0, symmetry=True, frozen_core=2)


@cache
def sqd(**changed: Any) -> SQDResult:
    bits = sample_bitstrings("uniform", O2, shots=400, seed=24)
    asked: dict[str, Any] = {"samples_per_batch": 12, "seed": 24, "max_iterations": 3, "symmetrize_spin": True, **changed}
    return run_sqd(O2, bits, initial_occupancies="hf", **asked)


def spin_of(result: SQDResult) -> Finding:
    return next(one for one in findings(result) if one.name == "spin")


def without_a_wish(*asked: Any) -> Any:
    return fermion.solve_sci_batch(*asked)


def test_the_lowest_state_is_of_another_spin_and_that_is_said() -> None:
    found = spin_of(sqd())
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.WARN
    assert "the state found has <S²> 2.00: a triplet; a singlet was meant" in found.sentence
    assert "spin_sq=0" in found.sentence


def test_a_spin_that_is_asked_for_is_found() -> None:
    triplet, singlet = sqd(), sqd(spin_sq=0.0)
    assert singlet.spin_square == pytest.approx(0, abs=0.05)
    assert singlet.energy > triplet.energy + 0.01
    assert spin_of(singlet).passed
    assert singlet.spin_sq == 0


def test_a_triplet_that_is_asked_for_is_no_warning() -> None:
    assert spin_of(sqd(spin_sq=2.0)).passed


def test_a_spin_that_is_asked_for_and_missed_is_an_error() -> None:
    found = spin_of(sqd(spin_sq=0.0, sci_solver=without_a_wish))  # a function is not told of it
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.ERROR


def test_a_solver_that_keeps_its_state_says_nothing_about_its_spin() -> None:
    def stateless(*asked: Any) -> Any:
        policy = fermion.StandardPolicy()
        return [
            replace(one, sci_state=None, carryover=policy.select_carryover(one))
            for one in fermion.solve_sci_batch(*asked)
        ]

    found = spin_of(sqd(sci_solver=stateless))
    assert found.passed
    assert found.sentence.startswith("unknown")


def test_the_curve_marks_points_of_another_spin() -> None:
    metadata = curve_metadata([("1.2", sqd()), ("1.3", sqd(spin_sq=0.0))])
    assert metadata["of_another_spin"].value == ["1.2"]
    rows = [row.data for row in metadata["energies"].records]
    assert "a triplet" in rows[0]["spin"]
    assert rows[1]["spin"] == ""


@pytest.mark.parametrize(
    ("found", "wanted", "is_wanted", "is_another", "words"),
    [
        (0.03, 0.0, True, False, "as it was meant"),
        (0.5, 0.0, False, False, "a mixture of several spins; a singlet was meant"),
        (2.5, 0.0, False, True, "a mixture"),
        (0.751472, 0.75, True, False, "as it was meant"),
        (3.75, 0.75, False, True, "a quartet; a doublet was meant"),
        (6.0, 2.0, False, True, "a quintet; a triplet was meant"),
        (None, 2.0, True, False, "does not say <S²>; a triplet was meant"),
        (15.75, 0.75, False, True, "an octet"),
        (20.0, 0.0, False, True, "a state of multiplicity 9"),
    ],
)
def test_a_spin_in_words(found: float | None, wanted: float, is_wanted: bool, is_another: bool, words: str) -> None:
    judged = judge_spin(found, wanted)
    assert (judged.is_wanted, judged.is_another) == (is_wanted, is_another)
    assert words in judged.sentence


@given(st.integers(0, 20), st.integers(0, 20), st.floats(-0.09, 0.09))
def test_a_pure_state_is_the_wanted_one_or_another(found: int, wanted: int, noise: float) -> None:
    """Only spins of one parity can meet: both are of the same electrons."""
    wanted += (found - wanted) % 2
    square = [twice / 2 * (twice / 2 + 1) for twice in (found, wanted)]
    judged = judge_spin(square[0] + noise, square[1])
    assert judged.is_wanted == (found == wanted) != judged.is_another


def test_the_lowest_spin_of_some_electrons() -> None:
    assert [lowest_spin_sq(nelec) for nelec in ((3, 3), (3, 2), (2, 4))] == [0, 0.75, 2]


@pytest.mark.parametrize(("spin_sq", "words"), [(-1.0, "is S\\(S\\+1\\)"), (float("nan"), "is S\\(S\\+1\\)")])
def test_what_is_no_spin_is_refused(spin_sq: float, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        sqd(spin_sq=spin_sq)


def test_a_spin_that_these_electrons_cannot_have_is_refused() -> None:
    triplet = Molecule(geometry="O 0 0 0; O 0 0 1.21", basis="sto-3g", spin=2, symmetry=True, frozen_core=2)
    with pytest.raises(ConfigurationError, match="with 7 alpha and 5 beta electrons it is 2 at least"):
        run_sqd(triplet, np.ones((2, 16), bool), samples_per_batch=2, seed=1, spin_sq=0.0, initial_occupancies="hf")
