"""Input files: strings are checked before anything is written, the Hamiltonian keeps every digit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.dice.files import DiceOptions, dice_input_files, write_dice_inputs
from dagster_hpc.dice.inputs import read_input, render_input
from dagster_hpc.electrons.determinants import (
    StringTable,
    bits_of,
    decode,
    encode,
    integers_of,
    popcounts,
    sorted_unique,
    words_of,
)
from dagster_hpc.electrons.fcidump import fcidump_bytes, hamiltonian_hash, integrals_of, read_fcidump, restricted
from dagster_hpc.engine.errors import ConfigurationError
from tests.dice.golden import GOOD, case

ORBITALS = st.integers(1, 128)


def random_integrals(norb: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    pairs = norb * (norb + 1) // 2
    one, two = random.standard_normal((norb, norb)), random.standard_normal((pairs, pairs))
    return one + one.T, two + two.T


def test_strings_given_twice_are_written_once() -> None:
    files = dice_input_files([3, 5, 3, 3], [6, 6], norb=4, nelec=(2, 2))
    assert files["AlphaDets.bin"] == (3).to_bytes(16, "big") + (5).to_bytes(16, "big")
    assert files["BetaDets.bin"] == (6).to_bytes(16, "big")
    assert sorted(files) == ["AlphaDets.bin", "BetaDets.bin", "input.dat"]


@pytest.mark.parametrize(
    "kind",
    [list, tuple, np.array, lambda s: np.array(s, np.uint64), lambda s: np.array(s, object), lambda s: np.array(s, "u1"),
     iter, lambda s: [np.int32(x) for x in s], lambda s: np.array(s, ">i8"), lambda s: np.repeat(np.array(s), 2)[::2]],
)  # fmt: skip
def test_strings_may_be_integers_of_any_kind(kind: object) -> None:
    files = dice_input_files(kind([3, 5]), kind([6]), norb=4, nelec=(2, 2))  # type: ignore[operator]
    assert files["AlphaDets.bin"] == (3).to_bytes(16, "big") + (5).to_bytes(16, "big")


def test_bit_127_is_the_first_bit_of_the_file() -> None:
    files = dice_input_files([1 | 1 << 127], [1 << 64], norb=128, nelec=(2, 1))
    assert files["AlphaDets.bin"] == b"\x80" + bytes(14) + b"\x01"
    assert files["BetaDets.bin"] == bytes(7) + b"\x01" + bytes(8)


@pytest.mark.parametrize(
    ("strings", "norb", "words"),
    [
        ([3, 7], 4, "alpha string 7 has 3 electrons instead of 2"),
        ([3, 1, 7, 0], 4, "and so have 2 more of 4"),
        ([3, 17], 4, "alpha string 17 has a bit outside of the 4 orbitals"),
        ([3, 1 << 100], 4, "outside of the 4 orbitals"),
        ([3 << 99], 100, "outside of the 100 orbitals"),
        ([-1], 4, "-1"),
        (np.array([-3]), 4, "-3 is negative"),
        ([3, 1.5], 4, "must be integers, not 1.5"),
        (np.array([3.0]), 4, "must be integers, not float64"),
        (np.array([True]), 4, "must be integers"),
        (np.array([[3]]), 4, "one list"),
        (["3"], 4, "must be integers"),
        ([], 4, "no alpha string"),
    ],
)
def test_strings_that_dice_would_crash_on_are_refused_by_name(strings: object, norb: int, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        dice_input_files(strings, [3], norb=norb, nelec=(2, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("norb", "nelec", "words"),
    [
        (0, (0, 0), "norb is 0"),
        (129, (1, 1), "norb is 129"),
        (4, (5, 1), "5 alpha"),
        (4, (1, -1), "-1 beta"),
        (4, (0, 0), "no electrons"),
    ],
)
def test_impossible_systems_are_refused(norb: int, nelec: tuple[int, int], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        dice_input_files([1], [1], norb=norb, nelec=nelec)


@given(ORBITALS.flatmap(lambda norb: st.tuples(st.just(norb), st.lists(st.integers(0, (1 << norb) - 1), min_size=1))))
def test_what_is_encoded_is_what_is_decoded(system: tuple[int, list[int]]) -> None:
    norb, strings = system
    words = words_of(strings, norb)
    assert encode(words) == b"".join(string.to_bytes(16, "big") for string in strings)
    assert np.array_equal(decode(encode(words), norb), words)
    assert [int(number) for number in integers_of(words, norb)] == strings
    assert popcounts(words).tolist() == [bin(string).count("1") for string in strings]
    assert [int(n) for n in integers_of(sorted_unique(words), norb)] == sorted(set(strings))
    assert bits_of(words, norb).tolist() == [[string >> p & 1 for p in range(norb)] for string in strings]


@given(
    st.sampled_from([64, 128]).flatmap(
        lambda norb: st.tuples(
            st.just(norb),
            st.lists(st.integers(0, (1 << norb) - 1), min_size=1, unique=True),
            st.lists(st.integers(0, (1 << norb) - 1)),
        )
    )
)
def test_a_table_finds_its_strings_and_no_others(case: tuple[int, list[int], list[int]]) -> None:
    norb, known, others = case
    queries = [*known, *others]
    places = StringTable(words_of(known, norb)).find(words_of(queries, norb))
    assert places.tolist() == [known.index(query) if query in known else -1 for query in queries]


def test_a_table_of_very_many_strings() -> None:
    strings = np.random.default_rng(1).permutation(200_000)
    table = StringTable(words_of(strings, 40))
    assert np.array_equal(table.find(words_of(strings[::-1], 40)), np.arange(200_000)[::-1])


def test_the_seeds_keywords_and_defaults() -> None:
    text = render_input(DiceOptions(select_cutoff=5e-4), 16, (5, 4))
    assert "schedule\n0 0.0005\nend\n" in text
    assert "dE 1e-10\nmaxiter 10\n" in text
    assert "davidsonTol 1e-07\n" in text
    assert "sampleN 1\n" in text
    assert "nocc 9\n0 1 2 3 4 5 6 7 8\nend\n" in text
    assert not {"DoRDM", "DoSpinRDM", "seed", "spin"} & set(text.split())
    assert DiceOptions().return_sci_state


def test_nothing_is_added_without_a_cutoff() -> None:
    text = render_input(DiceOptions(), 16, (5, 5))
    assert "0 2147483647\n" in text
    assert "maxiter 1\n" in text
    assert read_input(text).growing is False
    assert read_input(render_input(DiceOptions(select_cutoff=5e-4), 16, (5, 5))).growing is True


def test_the_number_of_determinants_to_write_fits_dices_integer() -> None:
    assert "writeBestDeterminants 2147483647\n" in render_input(DiceOptions(), 60, (20, 20))


@pytest.mark.parametrize(
    "wrong",
    [{"select_cutoff": 0.0}, {"davidson_tol": -1e-5}, {"energy_tol": float("nan")}, {"max_iter": 0}, {"max_iter": 1.5},
     {"nroots": 0}, {"seed": -1}, {"seed": 1 << 31}, {"spin": float("inf")}],
)  # fmt: skip
def test_keywords_that_dice_aborts_on_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        DiceOptions(**wrong)  # type: ignore[arg-type]


def test_a_site_may_have_its_own_template(tmp_path: Path) -> None:
    template = tmp_path / "my.j2"
    template.write_text("nroots {{ nroots }} # {{ norb }} {{ options.energy_tol }}\n")
    assert render_input(DiceOptions(nroots=2), 4, (1, 1), template=str(template)) == "nroots 2 # 4 1e-10\n"
    template.write_text("{{ nothing_of_this_name }}")
    with pytest.raises(ConfigurationError, match="nothing_of_this_name"):
        render_input(DiceOptions(), 4, (1, 1), template=str(template))


def test_files_are_written_into_a_new_directory(tmp_path: Path) -> None:
    one, two = random_integrals(4)
    paths = write_dice_inputs(tmp_path / "a" / "b", [3], [5], norb=4, nelec=(2, 2), one_body=one, two_body=two)
    assert sorted(paths) == ["AlphaDets.bin", "BetaDets.bin", "fcidump.txt", "input.dat"]
    assert all(path.is_file() for path in paths.values())


@pytest.mark.parametrize("name", GOOD)
def test_integrals_are_read_as_pyscf_reads_them(name: str) -> None:
    from pyscf import ao2mo
    from pyscf.tools import fcidump as theirs

    path = case(name).folder / "fcidump.txt"
    mine = read_fcidump(path)
    expected = theirs.read(str(path), verbose=False)
    norb = expected["NORB"]
    assert (mine.norb, mine.electrons) == (norb, expected["NELEC"])
    np.testing.assert_array_equal(mine.integrals.one_body, expected["H1"])
    np.testing.assert_array_equal(mine.integrals.pair_integrals, ao2mo.restore(4, expected["H2"], norb))


@given(st.integers(1, 6), st.integers(0, 2**32), st.floats(-1e3, 1e3))
def test_every_digit_survives(norb: int, seed: int, core: float) -> None:
    integrals = integrals_of(*random_integrals(norb, seed), core)
    again = read_fcidump(fcidump_bytes(integrals, (1, 0)))
    assert np.array_equal(again.integrals.one_body, integrals.one_body)
    assert np.array_equal(again.integrals.pair_integrals, integrals.pair_integrals)
    assert again.integrals.core_energy == core
    assert hamiltonian_hash(again.integrals, (1, 0)) == hamiltonian_hash(integrals, (1, 0))


def test_pyscf_reads_what_is_written(tmp_path: Path) -> None:
    from pyscf import ao2mo
    from pyscf.tools import fcidump as theirs

    integrals = integrals_of(*random_integrals(5), 1.25)
    (tmp_path / "fcidump.txt").write_bytes(fcidump_bytes(integrals, (3, 2)))
    found = theirs.read(str(tmp_path / "fcidump.txt"), verbose=False)
    assert (found["NORB"], found["NELEC"], found["MS2"], found["ECORE"]) == (5, 5, 1, 1.25)
    np.testing.assert_array_equal(ao2mo.restore(4, found["H2"], 5), integrals.pair_integrals)


def test_a_hamiltonian_is_the_same_in_all_its_shapes() -> None:
    from pyscf import ao2mo

    one, two = random_integrals(4)
    shapes = [two, ao2mo.restore(1, two, 4), ao2mo.restore(8, two, 4)]
    assert len({hamiltonian_hash(integrals_of(one, shape), (2, 2)) for shape in shapes}) == 1


def test_another_hamiltonian_has_another_name() -> None:
    one, two = random_integrals(4)
    integrals = integrals_of(one, two)
    changed = two.copy()
    changed[3, 2] = changed[2, 3] = np.nextafter(two[3, 2], np.inf)
    names = {
        hamiltonian_hash(integrals, (2, 2)),
        hamiltonian_hash(integrals, (3, 1)),
        hamiltonian_hash(integrals_of(one, two, 1e-12), (2, 2)),
        hamiltonian_hash(integrals_of(one, changed), (2, 2)),
        hamiltonian_hash(integrals_of(one + 1e-9, two), (2, 2)),
    }
    assert len(names) == 5


@pytest.mark.parametrize(
    ("one", "two", "words"),
    [
        (np.zeros((2, 3)), np.zeros((3, 3)), "square"),
        (np.zeros((2, 2)), np.zeros((4, 4)), "shape"),
        (np.array([[0, 1.0], [0, 0]]), np.zeros((3, 3)), "not symmetric"),
        (np.zeros((2, 2)), np.triu(np.ones((3, 3))), r"\(pq\|rs\)"),
        (np.zeros((2, 2)), np.arange(16.0).reshape(2, 2, 2, 2), "chemists' order"),
        (np.full((2, 2), np.nan), np.zeros((3, 3)), "finite"),
        (np.zeros((2, 2), complex), np.zeros((3, 3)), "complex"),
    ],
)
def test_integrals_that_fcidump_cannot_hold_are_refused(one: np.ndarray, two: np.ndarray, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        integrals_of(one, two)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no header"),
        ("&FCI NORB=2\n&END\n", "NELEC"),
        ("&FCI NORB=2,NELEC=2,\n&END\n1.0 1 1 0\n", "not five"),
        ("&FCI NORB=2,NELEC=2,\n&END\n1.0 1 x 0 0\n", "no number"),
        ("&FCI NORB=2,NELEC=2,\n&END\n1.0 3 1 0 0\n", "outside"),
        ("&FCI NORB=2,NELEC=2,\n&END\n1.0 1 1 1 0\n", "no integral"),
    ],
)
def test_a_broken_file_of_integrals_is_an_error(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read_fcidump(text.encode())


def test_fortran_exponents_and_both_ends_of_the_header_are_read() -> None:
    for end in ("&END", "/", " /"):
        found = read_fcidump(
            f"&FCI NORB= 1,NELEC= 2,MS2=0,\n ORBSYM=1,\n{end}\n -1.5D+00 1 1 0 0\n 2d-1 0 0 0 0\n".encode()
        )
        assert found.integrals.one_body.tolist() == [[-1.5]]
        assert found.integrals.core_energy == 0.2


def test_orbitals_without_electrons_can_be_left_out() -> None:
    integrals = integrals_of(*random_integrals(5))
    some = restricted(integrals, [1, 3, 4])
    assert np.array_equal(some.one_body, integrals.one_body[np.ix_([1, 3, 4], [1, 3, 4])])
    assert (
        some.pair_integrals[some.pair[2, 0], some.pair[1, 1]]
        == integrals.pair_integrals[integrals.pair[4, 1], integrals.pair[3, 3]]
    )
