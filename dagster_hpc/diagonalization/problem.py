"""One Hamiltonian in one space of determinants after another: as a stored matrix, or applied by a compiled kernel."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.diagonalization.davidson import States, lowest_states, refined
from dagster_hpc.diagonalization.kernel import CompiledProduct
from dagster_hpc.diagonalization.product import ProductHamiltonian
from dagster_hpc.diagonalization.spin import Penalised, Penalty, SpinFound, SpinWish
from dagster_hpc.diagonalization.stored_matrix import DENSE, MatrixOperator, lowest_states_of_matrix
from dagster_hpc.diagonalization.strings import NEGLIGIBLE
from dagster_hpc.diagonalization.symmetry import Symmetry, largest_difference
from dagster_hpc.electrons.hamiltonian import hamiltonian_matrix

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from dagster_hpc.diagonalization.davidson import Operator, Vector
    from dagster_hpc.electrons.integrals import Integrals
    from dagster_hpc.electrons.space import DeterminantSpace

STORED = 8e6  # matrix elements up to which storing them is over before numba has been loaded and has saved anything
_NEAR = 1e-4  # Hartree: more than what noise in the integrals does to the order of states
_BYTES_PER_ELEMENT = 48  # of memory while the matrix of a product is put together


@dataclass(frozen=True)
class Problem:
    """One Hamiltonian, solved in one space after another."""

    integrals: Integrals
    roots: int
    tolerance: float
    seed: int
    threads: int
    wish: SpinWish | None = None

    def solve(self, space: DeterminantSpace, guesses: Sequence[Vector]) -> tuple[States, SpinFound | None]:
        """The lowest states; with a wish for a spin those of H and its penalty, and their energies by H alone."""
        penalty = None if self.wish is None else Penalty.of(space, self.wish)
        form = self._form(space)
        if isinstance(form, CompiledProduct):
            operator: Operator = form
            states = self._lowest_of_kernel(form, space, penalty, guesses)
        else:
            operator = MatrixOperator(form)
            matrix = form if penalty is None else form + penalty.matrix()
            states = lowest_states_of_matrix(
                matrix, self.roots, tolerance=self.tolerance, seed=self.seed, guesses=guesses
            )
        return (states, None) if penalty is None else _by_h_alone(states, operator, penalty)

    def _lowest_of_kernel(
        self, kernel: CompiledProduct, space: DeterminantSpace, penalty: Penalty | None, guesses: Sequence[Vector]
    ) -> States:
        """Where a symmetry holds but for noise, its sectors are searched without the noise, and the states then refined."""
        symmetry = Symmetry.of(self.integrals)
        exact = symmetry.imposed(self.integrals)
        noisy = largest_difference(exact, self.integrals) > NEGLIGIBLE
        searched = CompiledProduct(ProductHamiltonian.of(space, exact), self.threads) if noisy else kernel
        wished, wished_exact = (
            operator if penalty is None else Penalised(operator, penalty) for operator in (kernel, searched)
        )
        states = lowest_states(
            wished_exact,
            self.roots,
            tolerance=self.tolerance,
            seed=self.seed,
            guesses=guesses,
            sectors=symmetry.sectors(space),
            near=_NEAR if noisy else 0.0,
        )
        return refined(wished, states, self.roots, tolerance=self.tolerance) if noisy else states

    def _form(self, space: DeterminantSpace) -> csr_array | CompiledProduct:
        """The cheapest form of H that there is memory for."""
        memory = 0.8 * _memory_available()
        if len(space) <= DENSE or not space.is_product:
            return hamiltonian_matrix(space, self.integrals, most_bytes=memory)
        parts = ProductHamiltonian.of(space, self.integrals)
        if parts.elements <= STORED:
            return parts.stored()
        if find_spec("numba") is not None:
            return CompiledProduct(parts, self.threads)
        if parts.elements * _BYTES_PER_ELEMENT <= memory:
            return parts.stored()
        raise MemoryError(
            f"{len(space)} determinants have some {parts.elements:.1e} matrix elements, more than fit into memory; "
            "numba is needed, which is not installed here: pip install 'dagster-hpc[dice]'"
        )


def _by_h_alone(states: States, operator: Operator, penalty: Penalty) -> tuple[States, SpinFound]:
    rows = np.ascontiguousarray(states.vectors.T)
    image = operator.apply(rows)
    energies = np.einsum("ki,ki->k", rows, image)
    residual = float(np.linalg.norm(image - energies[:, None] * rows, axis=1).max())
    spins = np.einsum("ki,ki->k", rows, penalty.spin_square(rows))
    return replace(states, energies=energies), SpinFound(tuple(map(float, spins)), residual)


def _memory_available() -> float:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        if found:
            return float(found[1]) * 1024
    except OSError:
        pass
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
