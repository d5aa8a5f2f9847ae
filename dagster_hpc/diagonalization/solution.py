"""The lowest states of a product of strings, in this process: the embedded solver as a function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.diagonalization.problem import Problem
from dagster_hpc.diagonalization.spin import SpinWish
from dagster_hpc.diagonalization.threads import threads_allowed
from dagster_hpc.electrons.determinants import bits_of, require_electrons, width_of, words_of
from dagster_hpc.electrons.fcidump import integrals_of
from dagster_hpc.electrons.space import DeterminantSpace
from dagster_hpc.electrons.state import SparseState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.diagonalization.davidson import States, Vector
    from dagster_hpc.diagonalization.spin import SpinFound
    from dagster_hpc.electrons.determinants import Words
    from dagster_hpc.electrons.space import Occupations

TIGHTEST = 1e-7  # residual: the energy is then good to 1e-12 or so, and occupancies to 1e-7, whatever davidsonTol says


@dataclass(frozen=True)
class Solution:
    """The lowest states among some determinants; energies include the core, states are columns of `vectors`."""

    space: DeterminantSpace
    energies: Vector
    vectors: Vector
    iterations: int
    residual: float  # of H, with the penalty where a spin is wished for
    spin: SpinFound | None = None  # where a spin is wished for

    @classmethod
    def of(cls, space: DeterminantSpace, core_energy: float, states: States, spin: SpinFound | None) -> Solution:
        energies = states.energies + core_energy
        return cls(space, energies, states.vectors, states.iterations, states.residual, spin)

    def state(self, root: int = 0) -> SparseState:
        """One of the states, with its strings as the rest of the package has them."""
        space = self.space
        index_a, index_b = space.index_a.astype(np.int32), space.index_b.astype(np.int32)
        return SparseState(_words(space.alpha), _words(space.beta), index_a, index_b, self.vectors[:, root], space.norb)


def solve_product(
    alpha: Iterable[int] | NDArray[Any],
    beta: Iterable[int] | NDArray[Any],
    one_body: NDArray[np.float64],
    two_body: NDArray[np.float64],
    norb: int,
    nelec: tuple[int, int],
    *,
    core_energy: float = 0.0,
    nroots: int = 1,
    spin_sq: float | None = None,
    spin_shift: float = 0.2,
    tolerance: float = TIGHTEST,
    seed: int = 0,
    threads: int | None = None,
) -> Solution:
    """The `nroots` lowest states among all products of the alpha and beta strings (integers, bit p is orbital p).

    What the program does with files, without any. Strings given twice count once. With `spin_sq`, the wanted <S²>, a penalty
    of `spin_shift` Hartree is added while they are sought; the energies are those of H alone. `threads`: all cores that this
    process may use, or what OMP_NUM_THREADS says. Raises ConfigurationError for strings or integrals that do not fit,
    EigenError where there is no converged answer.
    """
    integrals = integrals_of(one_body, two_body, core_energy)
    strings = []
    for given, electrons, label in ((alpha, nelec[0], "alpha string"), (beta, nelec[1], "beta string")):
        words = words_of(given, norb, label)
        require_electrons(words, electrons, label)
        strings.append(bits_of(words, norb).astype(bool))
    space = DeterminantSpace.product(*strings)
    wish = None if spin_sq is None else SpinWish(spin_sq, spin_shift)
    problem = Problem(integrals, nroots, min(tolerance, TIGHTEST), seed, threads or threads_allowed(), wish)
    return Solution.of(space, core_energy, *problem.solve(space, []))


def _words(strings: Occupations) -> Words:
    """The same strings as words of 64 orbitals."""
    packed = np.zeros((len(strings), 8 * width_of(strings.shape[1])), np.uint8)
    bits = np.packbits(strings, axis=1, bitorder="little")
    packed[:, : bits.shape[1]] = bits
    return packed.view("<u8").astype(np.uint64)
