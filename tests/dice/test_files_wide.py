"""Up to 128 orbitals, open shells, sets that are no product: what is written is what is read."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_hpc.dice.dets_file import spread
from dagster_hpc.dice.files import DiceOptions, read_dice_outputs, write_dice_inputs, write_dice_outputs
from dagster_hpc.engine.errors import ConfigurationError
from tests.dice.made import Made, grown, product


def determinants(made: Made) -> dict[tuple[int, int], float]:
    return {(a, b): c for a, b, c in zip(made.alpha, made.beta, made.coefficients.tolist(), strict=True)}


def read_back(made: Made) -> dict[tuple[int, int], float]:
    alpha, beta, coefficients = made.read().determinants
    return {(int(a), int(b)): c for a, b, c in zip(alpha, beta, coefficients.tolist(), strict=True)}


@pytest.mark.parametrize("norb", [1, 2, 7, 8, 9, 16, 31, 36, 40, 63, 64, 65, 66, 72, 100, 127, 128])
def test_a_product_of_any_width_is_read_as_it_was_written(norb: int, tmp_path: Path) -> None:
    nelec = (min(3, norb), min(2, norb))
    made = product(tmp_path, norb, nelec, (1, 1) if norb <= 3 else (7, 6))
    assert read_back(made) == determinants(made)
    result = made.read()
    for mine, strings in zip(result.orbital_occupancies, (made.alpha, made.beta), strict=True):
        expected = [
            sum(c * c for s, c in zip(strings, made.coefficients, strict=True) if s >> p & 1) for p in range(norb)
        ]
        np.testing.assert_allclose(mine, expected, atol=1e-12)
    assert result.strings_a.dtype == (np.int64 if norb < 64 else object)
    assert result.strings_a.tolist() == sorted(set(made.alpha))


@pytest.mark.parametrize("norb", [12, 66, 100, 128])
@pytest.mark.parametrize("nelec", [(3, 3), (4, 1), (2, 0), (0, 2)])
def test_a_grown_set_is_read_as_it_was_written(norb: int, nelec: tuple[int, int], tmp_path: Path) -> None:
    made = (
        grown(tmp_path, norb, nelec, 20)
        if min(nelec)
        else product(tmp_path, norb, nelec, (1 if nelec[0] == 0 else 20, 1 if nelec[1] == 0 else 20))
    )
    assert read_back(made) == determinants(made)


def test_no_beta_electrons(tmp_path: Path) -> None:
    made = product(tmp_path, 4, (2, 0), (6, 1))
    result = made.read()
    assert (tmp_path / "BetaDets.bin").read_bytes() == bytes(16)
    assert result.spin_square == pytest.approx(2.0)
    assert result.orbital_occupancies[1].tolist() == [0.0] * 4


def test_all_orbitals_filled(tmp_path: Path) -> None:
    made = product(tmp_path, 128, (128, 128), (1, 1))
    assert read_back(made) == determinants(made)
    assert made.read().spin_square == 0.0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_state_survives_writing_and_reading(data: st.DataObject) -> None:
    norb = data.draw(st.integers(1, 128), "norb")
    nelec = data.draw(st.integers(0, norb)), data.draw(st.integers(0, norb))
    if sum(nelec) == 0:
        nelec = (1, 0)
    string = [st.permutations(range(norb)).map(lambda order, n=n: sum(1 << p for p in order[:n])) for n in nelec]
    pairs = sorted(data.draw(st.sets(st.tuples(*string), min_size=1, max_size=12), "determinants"))
    weights = data.draw(st.lists(st.floats(-1, 1), min_size=len(pairs), max_size=len(pairs)), "coefficients")
    values = np.array(weights) + (0 if any(abs(w) > 1e-3 for w in weights) else 1.0)
    values /= np.linalg.norm(values)
    alpha, beta = zip(*pairs, strict=True)
    with tempfile.TemporaryDirectory() as folder:
        write_dice_inputs(folder, alpha[:1], beta[:1], norb=norb, nelec=nelec, options=DiceOptions(select_cutoff=1e-3))
        write_dice_outputs(folder, 0.25, alpha, beta, values, norb, nelec)
        result = read_dice_outputs(folder, norb=norb, nelec=nelec)
    found = {(int(a), int(b)): c for a, b, c in zip(*result.determinants, strict=True)}
    assert found == dict(zip(pairs, values.tolist(), strict=True))
    assert sum(result.orbital_occupancies[0]) == pytest.approx(nelec[0])
    assert result.spin_square >= -1e-9


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1))
def test_spreading_bits_is_its_own_inverse(numbers: list[int]) -> None:
    words = np.array(numbers, np.uint64)[:, None]
    assert np.array_equal(spread(spread(words)), words)


@pytest.mark.parametrize(
    ("alpha", "beta", "values", "words"),
    [
        ([3], [3, 5], [1.0], "1 alpha strings, 2 beta"),
        ([3], [7], [1.0], "3 electrons instead of 2"),
        ([], [], [], "at least one"),
        ([3], [64], [1.0], "outside"),
    ],
)
def test_a_state_that_is_none_is_not_written(
    alpha: list[int], beta: list[int], values: list[float], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        write_dice_outputs(tmp_path, 0.0, alpha, beta, np.array(values), 4, (2, 2))
    assert not list(tmp_path.iterdir())
