"""Bitstrings of a trial → the subspace of its next iteration, with the strings that are carried over in front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dagster_hpc.sqd.inputs import right_electrons

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.molecule import MolecularIntegrals
    from dagster_hpc.sqd.values import Occupancies, Subspace

    Bits: TypeAlias = NDArray[np.bool_]
    Pool: TypeAlias = tuple[Bits, NDArray[np.float64]]  # different configurations, and the probability of each


@dataclass(frozen=True)
class Shape:
    """How a subspace is made; the names are those of qiskit-addon-sqd."""

    samples_per_batch: int
    max_dim: int | None = None
    symmetrize_spin: bool = False


def pool_of(bitstrings: Bits) -> Pool:
    rows, counts = np.unique(bitstrings, axis=0, return_counts=True)
    return rows, counts / len(bitstrings)


def recovered(
    pool: Pool, occupancies: Occupancies | None, integrals: MolecularIntegrals, rng: np.random.Generator
) -> Pool:
    """Configurations with the right electrons: made right where occupancies say how, else chosen."""
    rows, probabilities = pool
    if occupancies is None:
        right = right_electrons(rows, integrals)
        return rows[right], probabilities[right]
    from qiskit_addon_sqd.configuration_recovery import recover_configurations

    made, weights = recover_configurations(rows, probabilities, occupancies, *integrals.nelec, rand_seed=rng)
    return np.asarray(made, bool), np.asarray(weights, float)


def subspace_of(
    pool: Pool, carryover: Subspace, shape: Shape, integrals: MolecularIntegrals, rng: np.random.Generator
) -> Subspace:
    """The strings carried over, and those of configurations drawn from the pool, each once and ascending.

    A configuration of two strings that are carried over already would bring nothing, and is not drawn. Where fewer are
    left than are wanted, all are taken. Half of `max_dim` at most goes to strings that are carried over: else the first
    good trial would leave no place for what later circuits find.
    """
    from qiskit_addon_sqd.fermion import batch_to_ci_strings, bitstring_matrix_to_integers
    from qiskit_addon_sqd.subsampling import subsample

    norb = integrals.norb
    if shape.max_dim is not None:
        half = max(1, shape.max_dim // 2)
        carryover = carryover[0][:half], carryover[1][:half]
    rows, probabilities = pool
    if len(rows):
        alpha, beta = bitstring_matrix_to_integers(rows[:, norb:]), bitstring_matrix_to_integers(rows[:, :norb])
        is_new = ~(np.isin(alpha, carryover[0]) & np.isin(beta, carryover[1]))
        rows, probabilities = rows[is_new], probabilities[is_new]
    if len(rows):
        (batch,) = subsample(rows, probabilities / probabilities.sum(), shape.samples_per_batch, 1, rng)
        pair = batch_to_ci_strings(batch, norb, *carryover, symmetrize_spin=shape.symmetrize_spin)
    else:
        pair = carryover
    alpha, beta = (_limited(strings, shape.max_dim) for strings in pair)
    return alpha, beta


def _limited(strings: NDArray[np.int64], most: int | None) -> NDArray[np.int64]:
    """Each once, so many of the first, ascending."""
    first = np.sort(np.unique(strings, return_index=True)[1])
    return np.asarray(np.sort(strings[first][:most]))
