"""SBD's formats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc import ConfigurationError
from dagster_hpc.electrons.determinants import integers_of, words_of
from dagster_hpc.sbd.files import failure_in, parse_output, read_string_lines, string_lines, strings_for
from dagster_hpc.subspace import Subspace

# As SBD prints it (no closing bracket; sixteen digits), between the lines of a launcher.
PRINTED = """\
WARNING: some launcher says something
 Elapsed time for helper construction 0.012 (sec)
 Davidson iteration 0.0 (tol=0.3012): -8.854072040283656
 Davidson iteration 0.1 (tol=1.2e-05): -8.87453164 -7.1 -6.9
 Energy = -8.874531649333838
 Sample-based diagonalization: Energy = -8.874531649333838
 Sample-based diagonalization: density = [1.99,1.9,0.05,0.03,0.02,0.01
 Sample-based diagonalization: carryover bitstrings =  000011 000101
"""


def test_what_sbd_prints_is_read() -> None:
    text = parse_output(PRINTED)
    assert text.energy == -8.874531649333838
    assert text.density == (1.99, 1.9, 0.05, 0.03, 0.02, 0.01)
    assert text.steps == ((0.3012, -8.854072040283656), (1.2e-05, -8.87453164))


def test_an_output_that_was_cut_is_no_answer() -> None:
    assert parse_output(PRINTED.partition(" Sample")[0]).energy is None


def test_sbds_own_words_are_the_error() -> None:
    error = failure_in("terminate called\n  what():  MPI Size of twister is not a square of a integer\n", "/there")
    assert error is not None
    assert (error.words, error.inputs_at_fault) == ("MPI Size of twister is not a square of a integer", True)
    assert failure_in("all is well", "/there") is None


@given(st.integers(2, 128).flatmap(lambda norb: st.tuples(st.just(norb), st.sets(st.integers(0, (1 << norb) - 1)))))
def test_strings_are_written_with_the_lowest_orbital_last(drawn: tuple[int, set[int]]) -> None:
    norb, strings = drawn
    words = words_of(sorted(strings), norb)
    text = string_lines(words, norb).decode()
    assert text.split() == [format(string, f"0{norb}b") for string in sorted(strings)]
    read = read_string_lines(text, norb)
    assert read is not None
    assert integers_of(read, norb).tolist() == sorted(strings)


@pytest.mark.parametrize("text", ["0011\n01\n", "00a1\n", "001100\n"])
def test_something_else_than_strings_is_none(text: str) -> None:
    assert read_string_lines(text, 4) is None


def test_the_hartree_fock_string_is_always_the_first() -> None:
    strings = strings_for(Subspace([12, 6], [6, 12]), 4, 2, merge=False)
    assert integers_of(strings, 4).tolist() == [3, 6, 12]


def test_different_strings_of_the_spins_are_refused_or_put_together() -> None:
    different = Subspace([3, 6], [3, 12])
    with pytest.raises(ConfigurationError, match="SBD has one list for both spins"):
        strings_for(different, 4, 2, merge=False)
    assert integers_of(strings_for(different, 4, 2, merge=True), 4).tolist() == [3, 6, 12]


def test_strings_with_other_electrons_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="alpha string 1 has 1 electrons instead of 2"):
        strings_for(Subspace(np.array([3, 1]), np.array([3, 1])), 4, 2, merge=False)
