"""A result is sparse until qiskit-addon-sqd asks for more; then it is just what its own solver would have given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dagster_hpc.dice.files import read_dice_outputs
from dagster_hpc.dice.result import DenseStateTooLarge, DiceResult
from dagster_hpc.engine.errors import HPCError
from tests.dice.golden import case
from tests.dice.made import grown, product

fermion = pytest.importorskip("qiskit_addon_sqd.fermion")


def golden(name: str = "n2_pyscf_subset") -> DiceResult:
    given = case(name)
    return read_dice_outputs(given.folder, norb=given.norb, nelec=given.nelec)


def test_the_dense_state_has_each_coefficient_in_its_place() -> None:
    result = golden()
    state = result.sci_state()
    assert state.amplitudes.shape == (40, 40)
    assert (state.norb, state.nelec) == (16, (5, 5))
    alpha, beta, coefficients = result.determinants
    place_a, place_b = np.searchsorted(state.ci_strs_a, alpha), np.searchsorted(state.ci_strs_b, beta)
    assert np.array_equal(state.amplitudes[place_a, place_b], coefficients)


@pytest.mark.parametrize("name", ["n2_pyscf_subset", "h2o_sto3g_subset", "lih_hf_only"])
def test_qiskit_computes_the_same_occupancies_and_spin(name: str) -> None:
    result = golden(name)
    state = result.sci_state()
    for mine, theirs in zip(result.orbital_occupancies, state.orbital_occupancies(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)
    assert result.spin_square == pytest.approx(state.spin_square(), abs=1e-9)


def test_density_matrices_are_qiskits_for_a_grown_open_shell_set(tmp_path: Path) -> None:
    result = grown(tmp_path, 9, (4, 3), 200).read()
    for mine, theirs in zip(result.state.one_rdm(), result.sci_state().rdm(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)
    assert result.spin_square == pytest.approx(result.sci_state().spin_square(), abs=1e-9)


def test_a_result_for_qiskit() -> None:
    mine = golden()
    theirs = mine.sci_result()
    assert theirs.energy == mine.energy
    assert theirs.sci_state is not None
    assert theirs.carryover is None
    assert theirs.orbital_occupancies is mine.orbital_occupancies


@pytest.mark.parametrize("threshold", [1e-4, 1e-2, 0.5])
@pytest.mark.parametrize("symmetrize_spin", [False, True])
def test_strings_are_carried_over_as_from_the_dense_state(
    threshold: float, symmetrize_spin: bool, tmp_path: Path
) -> None:
    for result in (golden(), golden("ppp_norb40_3a2b"), grown(tmp_path, 12, (3, 3), 150).read()):
        if symmetrize_spin and result.nelec[0] != result.nelec[1]:
            continue
        dense = fermion.StandardPolicy(carryover_threshold=threshold)
        expected = dense.select_carryover(result.sci_result(), symmetrize_spin=symmetrize_spin)
        found = result.carryover(threshold, symmetrize_spin=symmetrize_spin)
        for mine, theirs in zip(found, expected, strict=True):
            assert mine.tolist() == theirs.tolist()


def test_a_state_that_is_too_large_when_dense(tmp_path: Path) -> None:
    result = grown(tmp_path, 20, (3, 3), 300).read()
    with pytest.raises(DenseStateTooLarge, match=r"300 determinants .* MiB allowed") as refused:
        result.sci_state(max_bytes=1000)
    assert isinstance(refused.value, HPCError)
    assert isinstance(refused.value, MemoryError)
    sparse = result.sci_result(max_bytes=1000)
    assert sparse.sci_state is None
    assert [strings.tolist() for strings in sparse.carryover] == [strings.tolist() for strings in result.carryover()]
    chosen = fermion.StandardPolicy().select_carryover(sparse)
    assert chosen is sparse.carryover


def test_no_dense_state_where_none_is_wanted() -> None:
    assert golden().sci_result(return_sci_state=False).sci_state is None


@pytest.mark.parametrize("norb", [63, 64, 100])
def test_wide_strings_are_qiskits(norb: int, tmp_path: Path) -> None:
    made = product(tmp_path, norb, (3, 2), (5, 4))
    state = made.read().sci_state()
    matrix = np.array([[s >> p & 1 for p in reversed(range(norb))] for s in sorted(set(made.alpha))], bool)
    expected = fermion.bitstring_matrix_to_integers(matrix)
    assert state.ci_strs_a.dtype == expected.dtype
    assert state.ci_strs_a.tolist() == expected.tolist()


def test_the_leading_determinants() -> None:
    leading = golden("h2o_sto3g").leading(3)
    assert [determinant.orbitals for determinant in leading[:2]] == ["2222200", "2202202"]
    assert abs(leading[0].coefficient) == pytest.approx(0.9866773762, abs=1e-9)
    assert leading[0].weight == pytest.approx(0.9866773762**2, abs=1e-9)
    assert len(golden("lih_hf_only").leading()) == 1


@pytest.mark.parametrize(
    ("pairs", "values", "expected"),
    [
        ([(0b01, 0b10), (0b10, 0b01)], [1, 1], 0.0),
        ([(0b01, 0b10), (0b10, 0b01)], [1, -1], 2.0),
        ([(0b01, 0b10)], [1], 1.0),
        ([(0b11, 0b00)], [1], 2.0),
        ([(0b00, 0b11)], [1], 2.0),
        ([(0b11, 0b01)], [1], 0.75),
        ([(0b01, 0b01)], [1], 0.0),
    ],
)
def test_total_spin(pairs: list[tuple[int, int]], values: list[float], expected: float) -> None:
    from dagster_hpc.electrons.determinants import words_of
    from dagster_hpc.electrons.state import SparseState

    for shift, norb in ((0, 2), (62, 64), (63, 65), (126, 128)):
        alpha, beta = (words_of([pair[spin] << shift for pair in pairs], norb) for spin in (0, 1))
        state = SparseState.of(alpha, beta, np.array(values, float) / np.linalg.norm(values), norb)
        assert state.spin_square() == pytest.approx(expected)
