"""Samples know the Hamiltonian that they were drawn for, and are refused with another one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.files import from_bytes, to_bytes
from dagster_hpc.sqd.molecule import MolecularIntegrals, Molecule, require_same, same_hamiltonian, signature_of
from dagster_hpc.sqd.npz import packed
from dagster_hpc.sqd.values import Hamiltonian, Samples

pytest.importorskip("pyscf")

N2 = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="sto-3g")


def turned(integrals: MolecularIntegrals, first: int, second: int, angle: float) -> MolecularIntegrals:
    turn = np.eye(integrals.norb)
    turn[np.ix_([first, second], [first, second])] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    two_body = np.einsum("pqrs,pi,qj,rk,sl->ijkl", integrals.two_body, turn, turn, turn, turn, optimize=True)
    return integrals._replace(one_body=turn.T @ integrals.one_body @ turn, two_body=two_body)


@pytest.mark.parametrize("noise", [0, 1e-8])
def test_the_same_integrals_but_for_their_last_digits_have_one_signature(noise: float) -> None:
    integrals = N2.integrals()
    rng = np.random.default_rng(1)
    again = integrals._replace(
        one_body=integrals.one_body + noise * rng.standard_normal((10,) * 2),
        two_body=integrals.two_body + noise * rng.standard_normal((10,) * 4),
    )

    require_same(signature_of(integrals), again)
    assert same_hamiltonian(signature_of(integrals), signature_of(again))


@pytest.mark.parametrize(("first", "second"), [(0, 1), (4, 5), (5, 6), (7, 8), (0, 9)])
def test_turned_orbitals_have_another(first: int, second: int) -> None:
    integrals = N2.integrals()
    other = turned(integrals, first, second, 0.05)

    with pytest.raises(
        ConfigurationError, match=r"these samples belong to another Hamiltonian: its orbitals are turned .*"
    ):
        require_same(signature_of(integrals), other)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"geometry": "N 0 0 0; N 0 0 1.1001"}, "atoms or its frozen electrons are not the same"),
        ({"frozen_core": 2}, "10 orbitals with 7 alpha and 7 beta electrons there, 8 orbitals with 5"),
        ({"charge": 2}, "10 orbitals with 6 alpha"),
    ],
)
def test_another_molecule_is_named_by_what_is_different(fields: dict[str, object], words: str) -> None:
    other = Molecule.model_validate({**N2.model_dump(), **fields})

    with pytest.raises(ConfigurationError, match=words):
        require_same(signature_of(N2.integrals()), other.integrals(), "the samples of n2.json")


def test_what_is_no_signature_is_said() -> None:
    for text in (" ", "4f3a", "h1 10 7 7 1.0"):
        with pytest.raises(ConfigurationError, match="not both signatures that this version can compare"):
            require_same(text, N2.integrals())


def test_samples_of_nobody_knows_which_hamiltonian_are_taken() -> None:
    require_same("", N2.integrals())
    assert same_hamiltonian("", signature_of(N2.integrals()))


def test_samples_keep_their_signature_on_the_disk() -> None:
    hamiltonian = Hamiltonian.of(N2)
    samples = Samples(np.zeros((3, 20), bool), 10, (7, 7), 1, {"kind": "uniform"}, hamiltonian.signature)

    again = from_bytes(to_bytes(samples))

    assert again.hamiltonian == signature_of(hamiltonian.integrals())
    require_same(again.hamiltonian, from_bytes(to_bytes(hamiltonian)).integrals())


def test_samples_that_were_stored_without_one_still_load() -> None:
    header = {"kind": "Samples", "norb": 10, "nelec": [7, 7], "seed": 1, "source": {"kind": "uniform"}}
    bits = np.packbits(np.ones((3, 20), bool), axis=1)
    stored = packed({"header": np.frombuffer(json.dumps(header).encode(), np.uint8), "bits": bits})

    again = from_bytes(stored)

    assert again.hamiltonian == ""
    assert again.bitstrings.sum() == 60
