"""What a real Dice wrote is read as PySCF understands it, and written again byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dagster_hpc.dice.files import DiceOptions, read_dice_outputs, write_dice_inputs, write_dice_outputs
from dagster_hpc.dice.inputs import render_input
from dagster_hpc.dice.output_text import (
    DiceElectronMismatch,
    DiceFailed,
    DiceInputMissing,
    DiceKeywordUnknown,
    DiceNotConverged,
    DiceTooManyOrbitals,
    DiceUnevenStrings,
    dice_failure,
)
from dagster_hpc.dice.reading import read_spin_rdm
from dagster_hpc.dice.result import DiceResult
from dagster_hpc.dice.validation import DiceResultInvalid
from dagster_hpc.electrons.determinants import decode, encode, integers_of, words_of
from dagster_hpc.electrons.fcidump import read_fcidump
from tests.dice.golden import CORRUPT, FAILED, GOOD, Case, case


def read(given: Case, **how: object) -> DiceResult:
    return read_dice_outputs(given.folder, norb=given.norb, nelec=given.nelec, stdout=given.stdout, **how)  # type: ignore[arg-type]


def in_pyscf(result: DiceResult) -> tuple[object, int, np.ndarray]:
    """PySCF's vector among the orbitals that have electrons at all: its link tables would have to hold all others too."""
    from pyscf.fci.selected_ci import _as_SCIvector

    strings_a, strings_b, coefficients = result.determinants
    union = int(np.bitwise_or.reduce(strings_a) | np.bitwise_or.reduce(strings_b))
    window = np.array([p for p in range(result.norb) if union >> p & 1])

    def squeezed(strings: np.ndarray) -> np.ndarray:
        return sum(((strings >> int(p)) & 1) << k for k, p in enumerate(window))  # type: ignore[return-value]

    small_a, index_a = np.unique(squeezed(strings_a), return_inverse=True)
    small_b, index_b = np.unique(squeezed(strings_b), return_inverse=True)
    amplitudes = np.zeros((len(small_a), len(small_b)))
    amplitudes[index_a, index_b] = coefficients
    return _as_SCIvector(amplitudes, (small_a, small_b)), len(window), window


@pytest.mark.parametrize("name", GOOD)
def test_energy_and_number_of_determinants_are_those_of_the_run(name: str) -> None:
    result = read(case(name))
    assert result.energy == pytest.approx(case(name).meta["energy"], abs=1e-10)
    assert result.dimension == case(name).meta["n_dets"]
    assert all(check.passed is not False for check in result.checks)


@pytest.mark.parametrize("name", GOOD)
def test_the_energy_is_what_pyscf_makes_of_the_determinants(name: str) -> None:
    from pyscf import ao2mo
    from pyscf.fci import direct_spin1, selected_ci

    given = case(name)
    result = read(given)
    vector, norb, window = in_pyscf(result)
    integrals = read_fcidump(given.folder / "fcidump.txt").integrals
    one_body = integrals.one_body[np.ix_(window, window)]
    pair = integrals.pair[np.ix_(window, window)]
    two_body = integrals.pair_integrals[pair[:, :, None, None], pair[None, None]]
    absorbed = direct_spin1.absorb_h1e(one_body, two_body, norb, given.nelec, 0.5)
    image = selected_ci.contract_2e(ao2mo.restore(1, absorbed, norb), vector, norb, given.nelec)
    assert float((np.asarray(vector) * image).sum()) == pytest.approx(result.energy, abs=1e-10)


@pytest.mark.parametrize("name", GOOD)
def test_occupancies_and_total_spin_are_pyscfs(name: str) -> None:
    from pyscf.fci import selected_ci

    given = case(name)
    result = read(given)
    vector, norb, window = in_pyscf(result)
    for mine, theirs in zip(result.orbital_occupancies, selected_ci.make_rdm1s(vector, norb, given.nelec), strict=True):
        expected = np.zeros(given.norb)
        expected[window] = theirs.diagonal()
        np.testing.assert_allclose(mine, expected, atol=1e-10)
    assert result.spin_square == pytest.approx(given.meta["s2"], abs=1e-9)


@pytest.mark.parametrize("name", GOOD)
def test_the_density_matrix_file_holds_the_same_occupancies(name: str) -> None:
    given = case(name)
    matrix, problem = read_spin_rdm(given.folder / "spin1RDM.0.0.txt", given.norb)
    assert problem is None
    assert matrix is not None
    alpha, beta = read(given).orbital_occupancies
    np.testing.assert_allclose(matrix.diagonal()[0::2], alpha, atol=1e-6)
    np.testing.assert_allclose(matrix.diagonal()[1::2], beta, atol=1e-6)


@pytest.mark.parametrize("name", GOOD)
def test_the_state_is_written_again_byte_for_byte(name: str, tmp_path: Path) -> None:
    given = case(name)
    result = read(given)
    strings_a, strings_b, coefficients = result.determinants
    write_dice_outputs(tmp_path, result.energy, strings_a, strings_b, coefficients, given.norb, given.nelec)
    for file in ("shci.e", "dets.bin", "spin1RDM.0.0.txt"):
        assert (tmp_path / file).read_bytes() == (given.folder / file).read_bytes()


@pytest.mark.parametrize("name", [*GOOD, *FAILED, *CORRUPT])
@pytest.mark.parametrize("file", ["AlphaDets.bin", "BetaDets.bin"])
def test_strings_are_encoded_byte_for_byte_in_the_order_given(name: str, file: str) -> None:
    path, norb = case(name).folder / file, case(name).norb
    if not path.exists():
        pytest.skip("this run failed for want of it")
    numbers = integers_of(decode(path.read_bytes(), norb), norb)
    assert encode(words_of(numbers, norb)) == path.read_bytes()
    assert encode(words_of([int(number) for number in numbers], norb)) == path.read_bytes()


@pytest.mark.parametrize("name", GOOD)
def test_input_files_hold_the_same_set_of_strings(name: str, tmp_path: Path) -> None:
    given = case(name)
    strings = [
        integers_of(decode((given.folder / file).read_bytes(), given.norb), given.norb)
        for file in ("AlphaDets.bin", "BetaDets.bin")
    ]
    write_dice_inputs(tmp_path, *strings, norb=given.norb, nelec=given.nelec)
    for file, numbers in zip(("AlphaDets.bin", "BetaDets.bin"), strings, strict=True):
        assert (tmp_path / file).read_bytes() == encode(words_of(np.unique(numbers), given.norb))


@pytest.mark.parametrize("name", ["h2_sto3g", "h2o_sto3g", "lih_sto3g", "n2_pyscf_subset"])
def test_the_reference_keywords_are_written_as_the_reference_writes_them(name: str) -> None:
    given = case(name)
    options = DiceOptions(select_cutoff=None, reference_keywords=True)
    theirs = (given.folder / "input.dat").read_text()
    assert render_input(options, given.norb, given.nelec) == theirs + "\n"


def test_the_lean_keywords_are_those_of_the_measured_run() -> None:
    given = case("h2o_sto3g_rc0")
    options = DiceOptions(select_cutoff=None, davidson_tol=1e-5, seed=1, spin=0.0)
    assert render_input(options, given.norb, given.nelec) == (given.folder / "input.dat").read_text() + "\n"


CHECK_THAT_FINDS = {
    "_corrupt/davidson_cap_n2_12x12": "davidson",
    "_corrupt/duplicate_strings_n2": "input_duplicates",
    "_corrupt/shm_collision_lih": "norm",
}


@pytest.mark.parametrize("name", CORRUPT)
def test_a_wrong_answer_is_rejected_by_the_check_that_fits(name: str) -> None:
    given = case(name)
    with pytest.raises(DiceResultInvalid) as rejected:
        read(given)
    assert CHECK_THAT_FINDS[name] in rejected.value.names
    assert f"- {CHECK_THAT_FINDS[name]}: " in str(rejected.value)
    assert str(given.folder) in str(rejected.value)


@pytest.mark.parametrize("name", CORRUPT)
def test_a_wrong_answer_is_rejected_without_the_output_text(name: str, tmp_path: Path) -> None:
    folder = case(name).copy_to(tmp_path)
    (folder / "dice.out").unlink()
    with pytest.raises(DiceResultInvalid):
        read_dice_outputs(folder, norb=case(name).norb, nelec=case(name).nelec)


def test_what_to_do_about_a_wrong_answer_depends_on_its_cause() -> None:
    said = {}
    for name in CORRUPT:
        with pytest.raises(DiceResultInvalid) as rejected:
            read(case(name))
        error = rejected.value
        said[name.split("/")[1].split("_")[0]] = (error.retryable, error.not_converged, error.inputs_at_fault)
    assert said == {
        "davidson": (False, True, False),
        "duplicate": (False, False, True),
        "shm": (True, False, False),
    }


ERROR_OF = {
    "davidson_nan_abort": DiceNotConverged,
    "davidson_roots": DiceNotConverged,
    "nelec_mismatch": DiceElectronMismatch,
    "nelec_mismatch_no_mpirun": DiceElectronMismatch,
    "no_alphadets": DiceInputMissing,
    "no_fcidump": DiceInputMissing,
    "norb64_detlen2": DiceTooManyOrbitals,
    "unknown_keyword": DiceKeywordUnknown,
    "wrong_popcount": DiceUnevenStrings,
}


@pytest.mark.parametrize("name", FAILED)
@pytest.mark.parametrize("as_text", [False, True])
def test_a_failed_run_gives_its_own_error_in_dices_words(name: str, as_text: bool) -> None:
    given = case(name)
    stdout = given.stdout.read_text() if as_text else given.stdout
    with pytest.raises(DiceFailed) as failed:
        read_dice_outputs(given.folder, norb=given.norb, nelec=given.nelec, stdout=stdout)
    assert type(failed.value) is ERROR_OF[name.split("/")[1]]
    assert given.meta["message"].strip() in str(failed.value)
    assert "What to do: " in str(failed.value)


def test_a_missing_string_file_is_named_although_dice_only_crashes() -> None:
    with pytest.raises(DiceInputMissing, match=r"AlphaDets\.bin missing or empty"):
        read(case("_failures/no_alphadets"))


@pytest.mark.parametrize("name", GOOD)
def test_a_good_run_says_nothing_that_is_taken_for_a_failure(name: str) -> None:
    assert dice_failure(case(name).stdout.read_text(), case(name).folder) is None
