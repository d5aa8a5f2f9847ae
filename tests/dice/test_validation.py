"""Whatever is wrong with the files of a run: it is found, and by the check whose name says it."""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dagster_hpc.dice.files import read_dice_outputs
from dagster_hpc.dice.validation import NAMES, DiceResultInvalid
from dagster_hpc.electrons.fcidump import read_fcidump
from tests.dice.golden import Case, case
from tests.dice.made import grown, product


def names_of_failed(folder: Path, given: Case, *, text: bool = True, **how: object) -> tuple[str, ...]:
    if not text:
        (folder / "dice.out").unlink()
    norb, nelec = how.pop("norb", given.norb), how.pop("nelec", given.nelec)
    with pytest.raises(DiceResultInvalid) as rejected:
        read_dice_outputs(folder, norb=norb, nelec=nelec, **how)  # type: ignore[arg-type]
    assert {check.name for check in rejected.value.checks} <= set(NAMES)
    assert len({check.name for check in rejected.value.checks}) == len(rejected.value.checks)
    assert rejected.value.work_dir == str(folder)
    return rejected.value.names


def patch(path: Path, offset: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(content)


H2O = case("h2o_sto3g")


@pytest.fixture
def h2o(tmp_path: Path) -> Path:
    return H2O.copy_to(tmp_path)


@pytest.mark.parametrize("cut", range(1, 8 + H2O.norb + 1))
def test_a_truncated_file_of_determinants(cut: int, h2o: Path) -> None:
    path = h2o / "dets.bin"
    path.write_bytes(path.read_bytes()[:-cut])
    assert names_of_failed(h2o, H2O) == ("determinants_size",)


@pytest.mark.parametrize("length", range(9))
def test_a_file_of_determinants_with_hardly_a_header(length: int, h2o: Path) -> None:
    path = h2o / "dets.bin"
    path.write_bytes(path.read_bytes()[:length])
    assert names_of_failed(h2o, H2O) == ("determinants_size",)


@pytest.mark.parametrize("tail", [b"\0", b"0" * 7, bytes(15)])
def test_trailing_bytes(tail: bytes, h2o: Path) -> None:
    path = h2o / "dets.bin"
    path.write_bytes(path.read_bytes() + tail)
    assert names_of_failed(h2o, H2O) == ("determinants_size",)


@pytest.mark.parametrize(("count", "norb"), [(441, 8), (441, 6), (0, 7), (-1, 7), (441, -7), (441, 1 << 30)])
def test_a_header_of_something_else(count: int, norb: int, h2o: Path) -> None:
    patch(h2o / "dets.bin", 0, struct.pack("<ii", count, norb))
    assert "header" in names_of_failed(h2o, H2O)


def test_the_wrong_number_of_orbitals_or_electrons_is_asked_for(h2o: Path) -> None:
    assert "header" in names_of_failed(h2o, H2O, norb=8)
    assert "electrons" in names_of_failed(h2o, H2O, nelec=(6, 4))


def test_a_file_of_another_run(h2o: Path) -> None:
    for name in ("dets.bin", "shci.e", "spin1RDM.0.0.txt"):
        shutil.copy(case("h2o_sto3g_subset").folder / name, h2o / name)
    assert "determinants" in names_of_failed(h2o, H2O, text=False)
    shutil.copy(case("lih_sto3g").folder / "dets.bin", h2o / "dets.bin")
    assert "header" in names_of_failed(h2o, H2O)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 200, 440])
def test_a_coefficient_that_is_no_number(value: float, place: int, h2o: Path) -> None:
    patch(h2o / "dets.bin", 8 + 15 * place, struct.pack("<d", value))
    assert names_of_failed(h2o, H2O) == ("finite",)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_energy_that_is_no_number(value: float, h2o: Path) -> None:
    (h2o / "shci.e").write_bytes(struct.pack("<d", value))
    assert names_of_failed(h2o, H2O) == ("finite",)


@pytest.mark.parametrize("bit", range(8 * 15))
@pytest.mark.parametrize("place", [0, 3])
def test_a_flipped_bit_in_a_determinant(bit: int, place: int, h2o: Path) -> None:
    """Each of the characters, and of the coefficient all that is not below the accuracy of the run."""
    offset = 8 + 15 * place + bit // 8
    before = (h2o / "dets.bin").read_bytes()
    patch(h2o / "dets.bin", offset, bytes([before[offset] ^ 1 << bit % 8]))
    if bit >= 32:  # the lowest bits of the coefficient are worth less than a millionth of it
        assert names_of_failed(h2o, H2O, text=False)


def test_the_sign_of_a_coefficient(h2o: Path) -> None:
    """Neither the norm nor the occupancies change."""
    sign = (h2o / "dets.bin").read_bytes()[8 + 15 + 7]
    patch(h2o / "dets.bin", 8 + 15 + 7, bytes([sign ^ 0x80]))
    assert set(names_of_failed(h2o, H2O)) == {
        "rdm_elements", "printed_determinants", "expectation", "residual", "local_energy",
    }  # fmt: skip


@pytest.mark.parametrize("letter", [b"1", b"c", b"A", b" ", b"\0", b"3", b"\xff", b"`"])
def test_an_orbital_that_is_none_of_the_four_letters(letter: bytes, h2o: Path) -> None:
    patch(h2o / "dets.bin", 8 + 15 * 100 + 8 + 6, letter)
    assert names_of_failed(h2o, H2O) == ("characters",)
    with pytest.raises(DiceResultInvalid, match="determinant 100"):
        read_dice_outputs(h2o, norb=7, nelec=(5, 5))


def test_two_determinants_in_the_wrong_order(h2o: Path) -> None:
    content = (h2o / "dets.bin").read_bytes()
    patch(h2o / "dets.bin", 8, content[23:38] + content[8:23])
    assert names_of_failed(h2o, H2O) == ("order",)


def test_a_determinant_twice(h2o: Path) -> None:
    content = (h2o / "dets.bin").read_bytes()
    patch(h2o / "dets.bin", len(content) - 7, content[-22:-15])
    assert {"duplicates", "determinants"} <= set(names_of_failed(h2o, H2O))


@pytest.mark.parametrize("size", [0, 7, 9, 16])
def test_an_energy_file_of_the_wrong_size(size: int, h2o: Path) -> None:
    (h2o / "shci.e").write_bytes(bytes(size))
    assert "energy_size" in names_of_failed(h2o, H2O)


@pytest.mark.parametrize("shift", [1e-6, -1e-6, 0.023, -1469.0])
def test_an_energy_that_is_a_little_off(shift: float, h2o: Path) -> None:
    energy = struct.unpack("<d", (h2o / "shci.e").read_bytes())[0]
    (h2o / "shci.e").write_bytes(struct.pack("<d", energy + shift))
    assert {"printed_energy", "expectation"} <= set(names_of_failed(h2o, H2O))
    assert "expectation" in names_of_failed(h2o, H2O, text=False)


@pytest.mark.parametrize("name", ["shci.e", "dets.bin", "spin1RDM.0.0.txt"])
def test_a_missing_file(name: str, h2o: Path) -> None:
    (h2o / name).unlink()
    with pytest.raises(DiceResultInvalid, match=re.escape(f"missing: {name}")):
        read_dice_outputs(h2o, norb=7, nelec=(5, 5))


@pytest.mark.parametrize("name", ["AlphaDets.bin", "BetaDets.bin"])
@pytest.mark.parametrize("change", [lambda b: None, lambda b: b[:-1], lambda b: b"", lambda b: bytes([b[0] ^ 1]) + b[1:],
                                    lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:15] + b"\xff" + b[16:]])  # fmt: skip
def test_input_strings_that_cannot_have_been_those(
    name: str, change: Callable[[bytes], bytes | None], h2o: Path
) -> None:
    changed = change((h2o / name).read_bytes())
    (h2o / name).unlink() if changed is None else (h2o / name).write_bytes(changed)
    assert "input_strings" in names_of_failed(h2o, H2O)


def test_more_or_fewer_input_strings_than_were_used(h2o: Path) -> None:
    strings = (h2o / "AlphaDets.bin").read_bytes()
    (h2o / "AlphaDets.bin").write_bytes(strings[16:])
    assert names_of_failed(h2o, H2O) == ("determinants",)
    (h2o / "AlphaDets.bin").write_bytes(strings + strings[:16])
    assert names_of_failed(h2o, H2O) == ("input_duplicates",)


def test_a_growing_run_may_have_more_but_not_fewer_determinants(tmp_path: Path) -> None:
    made = grown(tmp_path, 10, (3, 2), 30)
    assert made.read().dimension == 30
    asked = (tmp_path / "input.dat").read_text()
    (tmp_path / "input.dat").write_text(asked.replace("0 0.0005", "0 2147483647"))
    with pytest.raises(DiceResultInvalid, match="which nobody asked for"):
        made.read()
    (tmp_path / "input.dat").write_text(asked)
    absent = next(a for a in range(1 << 10) if bin(a).count("1") == 3 and a not in made.alpha)
    (tmp_path / "AlphaDets.bin").write_bytes(absent.to_bytes(16, "big"))
    with pytest.raises(DiceResultInvalid, match="0 of the 1 determinants asked for"):
        made.read()


RDM_FAULTS: list[tuple[str, Callable[[str], str], str]] = [
    ("other size", lambda text: text.replace("14\n", "16\n", 1), "rdm_format"),
    ("cut in a line", lambda text: text[:-5], "rdm_format"),
    ("cut at a line", lambda text: text[: text.rindex("\n", 0, -1) + 1], "rdm_trace"),
    ("one line only", lambda text: "14\n", "rdm_trace"),
    ("one entry", lambda text: "14\n  0     0   0.99999818\n", "rdm_trace"),
    ("empty", lambda text: "", "rdm_format"),
    ("word", lambda text: text.replace("0.99999818", "0.9999x818", 1), "rdm_format"),
    ("not a number", lambda text: text.replace("0.99999818", "       nan", 1), "rdm_format"),
    ("index", lambda text: text.replace("  0     0 ", " 99     0 ", 1), "rdm_format"),
    ("value", lambda text: text.replace("0.99605791", "0.99605291", 1), "rdm_diagonal"),
    ("off the diagonal", lambda text: text.replace("-0.0046921463", "0.0046921463", 1), "rdm_elements"),
]


@pytest.mark.parametrize(
    ("change", "name"), [fault[1:] for fault in RDM_FAULTS], ids=[fault[0] for fault in RDM_FAULTS]
)
def test_a_density_matrix_that_does_not_fit(change: Callable[[str], str], name: str, h2o: Path) -> None:
    path = h2o / "spin1RDM.0.0.txt"
    path.write_text(change(path.read_text()))
    assert name in names_of_failed(h2o, H2O)


TEXT_FAULTS = [
    (r" 9  ", "801  ", "davidson"),
    (r" 441 ", " 440 ", "printed_count"),
    (r"(?s)(Root             Energy.*?)-84\.2009", r"\g<1>-84.2109", "printed_energy"),
    (r"-84\.2009(\d+) +9 ", r"-85.2009\1          9 ", "iteration_energy"),
    (r"-0\.0770852640", "-0.0770852740", "printed_determinants"),
    (r"2 2 2 2 2   0 0", "2 2 2 a b   b a", "printed_determinants"),
]


@pytest.mark.parametrize(("pattern", "replacement", "name"), TEXT_FAULTS)
def test_an_output_text_of_another_run(pattern: str, replacement: str, name: str, h2o: Path) -> None:
    text, changes = re.subn(pattern, replacement, (h2o / "dice.out").read_text(), count=1)
    assert changes == 1
    assert names_of_failed(h2o, H2O, stdout=text) == (name,)


def test_an_output_text_without_the_table_proves_nothing(h2o: Path) -> None:
    assert names_of_failed(h2o, H2O, stdout="Error here\n") == ("davidson",)


def test_files_that_are_left_from_before_do_not_hide_a_crash(h2o: Path) -> None:
    from dagster_hpc.dice.output_text import DiceCrashed

    with pytest.raises(DiceCrashed, match="Aborted") as crashed:
        read_dice_outputs(h2o, norb=7, nelec=(5, 5), stdout=" \nSignal: Aborted (6)\n")
    assert crashed.value.retryable


def test_the_energy_of_a_subspace_bounds_that_of_the_space(h2o: Path) -> None:
    below = case("h2o_sto3g_subset").meta["energy"]
    result = read_dice_outputs(h2o, norb=7, nelec=(5, 5), parent_energy=below)
    assert {check.name: check.passed for check in result.checks}["parent_bound"]
    assert names_of_failed(h2o, H2O, parent_energy=-84.21) == ("parent_bound",)


def test_an_excited_determinant_is_not_the_ground_state(tmp_path: Path) -> None:
    """Norm, occupancies and <H> agree with each other; only the other determinants of the space tell."""
    from dagster_hpc.dice.files import write_dice_outputs

    folder = case("lih_sto3g").copy_to(tmp_path)
    result = read_dice_outputs(folder, norb=6, nelec=(2, 2))
    integrals = read_fcidump(folder / "fcidump.txt").integrals
    high = 0b110000
    alpha, beta, values = result.determinants
    values = np.where((alpha == high) & (beta == high), 1.0, 0.0)
    occupied = [4, 5]
    energy = sum(2 * integrals.one_body[p, p] for p in occupied)
    energy += sum(2 * integrals.coulomb[p, q] - integrals.exchange[p, q] for p in occupied for q in occupied)
    write_dice_outputs(folder, energy, alpha, beta, values, 6, (2, 2))
    (folder / "dice.out").unlink()
    with pytest.raises(DiceResultInvalid) as rejected:
        read_dice_outputs(folder, norb=6, nelec=(2, 2))
    assert set(rejected.value.names) == {"variational_bound", "residual", "local_energy"}


def test_integrals_of_another_system(h2o: Path) -> None:
    shutil.copy(case("lih_sto3g").folder / "fcidump.txt", h2o / "fcidump.txt")
    assert names_of_failed(h2o, H2O) == ("input_fcidump",)


def test_what_could_not_be_checked_is_said(tmp_path: Path) -> None:
    made = product(tmp_path, 8, (2, 2), (5, 5))
    unmade = {check.name: check.sentence for check in made.read().checks if check.passed is None}
    of_energies = {"expectation", "residual", "sampled_residual", "variational_bound", "local_energy"}
    assert set(unmade) == {"davidson", "input_fcidump", *of_energies}
    assert unmade["davidson"] == "no output of Dice was given"
    unmade = {check.name: check.sentence for check in made.read(recompute_up_to=10).checks if check.passed is None}
    assert unmade["expectation"] == "more than 10 determinants, and no integrals given"


def test_no_density_matrix_is_missed_where_none_was_asked_for(h2o: Path) -> None:
    (h2o / "spin1RDM.0.0.txt").unlink()
    (h2o / "input.dat").write_text((h2o / "input.dat").read_text().replace("DoOneRDM\n", ""))
    result = read_dice_outputs(h2o, norb=7, nelec=(5, 5))
    assert {check.name: check.passed for check in result.checks}["rdm_trace"] is None


@pytest.mark.parametrize("given", ["dice.out", Path("dice.out"), b"text"])
def test_the_output_may_be_named_within_the_work_directory(given: object, h2o: Path) -> None:
    stdout = (h2o / "dice.out").read_bytes() if given == b"text" else given
    result = read_dice_outputs(h2o, norb=7, nelec=(5, 5), stdout=stdout)  # type: ignore[arg-type]
    assert result.text is not None
    last = result.text.last()
    assert last is not None
    assert (last.determinants, last.davidson) == (441, 9)


@pytest.mark.parametrize("name", ["lih_sto3g", "oh", "n2_pyscf_subset", "ppp_norb40_3a2b", "h2o_sto3g_subset"])
def test_one_row_of_the_hamiltonian_is_that_row(name: str, tmp_path: Path) -> None:
    from dagster_hpc.electrons.determinants import bits_of
    from dagster_hpc.electrons.fcidump import integrals_of
    from dagster_hpc.electrons.hamiltonian import hamiltonian_matrix
    from dagster_hpc.electrons.local_energy import image_at
    from dagster_hpc.electrons.space import DeterminantSpace

    random = np.random.default_rng(3)
    if name == "oh":
        made = grown(tmp_path, 7, (4, 3), 120)
        result = made.read()
        one, two = random.standard_normal((7, 7)), random.standard_normal((28, 28))
        integrals = integrals_of(one + one.T, two + two.T, 0.5)
    else:
        given = case(name)
        result = read_dice_outputs(given.folder, norb=given.norb, nelec=given.nelec)
        integrals = read_fcidump(given.folder / "fcidump.txt").integrals
    state = result.state
    alpha, beta = (bits_of(words, state.norb).astype(bool) for words in (state.alpha, state.beta))
    space = DeterminantSpace(alpha, beta, state.index_a.astype(np.int64), state.index_b.astype(np.int64))
    vector = random.standard_normal(len(state))
    matrix = hamiltonian_matrix(space, integrals).toarray()
    for place in random.integers(0, len(state), 5):
        expected = matrix[place] @ vector / vector[place] + integrals.core_energy
        assert image_at(space, vector, integrals, int(place)) / vector[place] == pytest.approx(expected, abs=1e-9)


def test_a_large_answer_is_compared_with_some_rows_of_given_integrals(tmp_path: Path) -> None:
    given = case("n2_pyscf_subset")
    folder = given.copy_to(tmp_path)
    (folder / "dice.out").unlink()
    how = {"integrals": read_fcidump(folder / "fcidump.txt").integrals, "recompute_up_to": 100}
    result = read_dice_outputs(folder, norb=16, nelec=(5, 5), **how)  # type: ignore[arg-type]
    made = {check.name: check.passed for check in result.checks}
    assert (made["local_energy"], made["variational_bound"], made["expectation"]) == (True, True, None)
    (folder / "shci.e").write_bytes(struct.pack("<d", result.energy + 0.023))
    assert names_of_failed(folder, given, **how) == ("local_energy",)


def test_a_diverged_last_davidson_is_named_where_all_of_h_is_too_much(tmp_path: Path) -> None:
    """Dice prints no count of it. Here the determinants that the leading one does not see are noise, all else is right."""
    from dagster_hpc.dice.files import write_dice_outputs

    given = case("n2_pyscf_subset")
    folder = given.copy_to(tmp_path)
    (folder / "dice.out").unlink()
    result = read_dice_outputs(folder, norb=16, nelec=(5, 5))
    alpha, beta, values = (np.array(column) for column in result.determinants)
    pairs = zip((alpha ^ alpha[0]).tolist(), (beta ^ beta[0]).tolist(), strict=True)
    unseen = np.array([a.bit_count() + b.bit_count() for a, b in pairs]) > 4  # more than two electrons have moved
    values[unseen] += 0.3 * np.random.default_rng(1).standard_normal(unseen.sum()) / np.sqrt(unseen.sum())
    values /= np.linalg.norm(values)
    order = np.argsort(-np.abs(values), kind="stable")
    write_dice_outputs(folder, result.energy, alpha[order], beta[order], values[order], 16, (5, 5))

    how = {"integrals": read_fcidump(folder / "fcidump.txt").integrals, "recompute_up_to": 100}
    assert "sampled_residual" in names_of_failed(folder, given, **how)


def test_the_sampled_residual_of_an_eigenstate_is_far_from_its_limit(tmp_path: Path) -> None:
    for name in ("n2_pyscf_subset", "h2o_sto3g", "lih_sto3g", "ppp_norb40_3a2b", "lih_hf_only"):
        given = case(name)
        result = read_dice_outputs(given.folder, norb=given.norb, nelec=given.nelec, recompute_up_to=0,
            integrals=read_fcidump(given.folder / "fcidump.txt").integrals)  # fmt: skip
        (made,) = (check for check in result.checks if check.name == "sampled_residual")
        assert made.value is not None
        assert made.value < 1e-4


def test_a_state_found_with_a_penalty_on_its_spin_is_no_eigenstate(tmp_path: Path) -> None:
    given = case("lih_sto3g")
    result = read_dice_outputs(given.folder, norb=6, nelec=(2, 2), is_eigenstate=False)
    unmade = {check.name for check in result.checks if check.passed is None}
    assert unmade == {"residual", "sampled_residual", "local_energy", "variational_bound"}
    assert {check.name: check.passed for check in result.checks}["expectation"]


def test_the_header_of_the_hamiltonian_is_checked_also_where_integrals_are_given(h2o: Path) -> None:
    integrals = read_fcidump(h2o / "fcidump.txt").integrals
    made = {check.name: check.passed for check in read_dice_outputs(h2o, norb=7, nelec=(5, 5), integrals=integrals).checks}
    assert made["input_fcidump"] is True
    shutil.copy(case("lih_sto3g").folder / "fcidump.txt", h2o / "fcidump.txt")
    assert names_of_failed(h2o, H2O, integrals=integrals) == ("input_fcidump",)


def test_a_dice_that_reads_other_strings_is_named(tmp_path: Path) -> None:
    """The strings are those that were asked for; Dice sees others in them."""
    from dagster_hpc.dice.output_text import DiceOtherStrings, DiceUnevenStrings

    folder = case("_failures/wrong_popcount").copy_to(tmp_path)
    with pytest.raises(DiceUnevenStrings) as uneven:
        read_dice_outputs(folder, norb=H2O.norb, nelec=H2O.nelec)
    assert not isinstance(uneven.value, DiceOtherStrings)
    for name in ("AlphaDets.bin", "BetaDets.bin", "fcidump.txt"):
        shutil.copy(H2O.folder / name, folder / name)
    with pytest.raises(DiceOtherStrings, match="16 bytes per string"):
        read_dice_outputs(folder, norb=H2O.norb, nelec=H2O.nelec)
