"""A small subspace solved where the loop runs: a job would take longer to start than to solve it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from qiskit_addon_sqd.fermion import SCIResult

    from dagster_hpc.sqd.molecule import MolecularIntegrals
    from dagster_hpc.sqd.values import Subspace


class Found(NamedTuple):
    """An answer and its <S²>."""

    result: SCIResult
    spin_square: float


def solve_here(subspace: Subspace, integrals: MolecularIntegrals, *, seed: int, spin_sq: float | None) -> Found:
    """The lowest state, by the embedded solver: what its jobs would find. With a wanted spin, other states are raised."""
    from qiskit_addon_sqd.fermion import SCIResult, SCIState

    from dagster_hpc.diagonalization import solve_product

    h, eri, _, norb, nelec = integrals
    strings_a, strings_b = (np.unique(one) for one in subspace)
    solution = solve_product(strings_a, strings_b, h, eri, norb, nelec, spin_sq=spin_sq, seed=seed)
    state = solution.state()
    amplitudes = np.zeros((len(strings_a), len(strings_b)))
    amplitudes[state.index_a, state.index_b] = state.coefficients
    dense = SCIState(amplitudes, strings_a, strings_b, norb=norb, nelec=nelec)
    return Found(SCIResult(float(solution.energies[0]), dense, state.occupancies()), state.spin_square())
