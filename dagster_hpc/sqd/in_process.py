"""A small subspace solved where the loop runs: a job would take longer to start than to solve it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIResult

    from dagster_hpc.sqd.molecule import MolecularIntegrals
    from dagster_hpc.sqd.values import Subspace


def solve_here(subspace: Subspace, integrals: MolecularIntegrals, *, seed: int, spin_sq: float | None) -> SCIResult:
    """The lowest state, by the embedded solver: what its jobs would find."""
    from qiskit_addon_sqd.fermion import SCIResult, SCIState

    from dagster_hpc.dice.embedded.iterations import TIGHTEST
    from dagster_hpc.dice.embedded.problem import Problem
    from dagster_hpc.dice.fcidump import integrals_of
    from dagster_hpc.dice.hamiltonian import DeterminantSpace

    h, eri, _, norb, nelec = integrals
    strings = [np.unique(one) for one in subspace]
    space = DeterminantSpace.product(*(_occupations(one, norb) for one in strings))
    states = Problem(integrals_of(h, eri, 0.0), 1, TIGHTEST, seed).solve(space, ())
    amplitudes = states.vectors[:, 0].reshape(len(strings[0]), len(strings[1]))
    weights = (amplitudes**2).sum(axis=1), (amplitudes**2).sum(axis=0)
    occupancies = weights[0] @ space.alpha, weights[1] @ space.beta
    state = SCIState(amplitudes, strings[0], strings[1], norb=norb, nelec=nelec)
    return SCIResult(float(states.energies[0]), state, occupancies)


def _occupations(strings: NDArray[Any], norb: int) -> NDArray[np.bool_]:
    return np.array([[int(string) >> place & 1 for place in range(norb)] for string in strings], bool)
