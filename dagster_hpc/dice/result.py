"""The answer of a selected-CI run: an energy and a state that stays sparse until somebody asks for the dense one."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dagster_hpc.electrons.densities import summed
from dagster_hpc.electrons.determinants import bits_of, integers_of
from dagster_hpc.engine.errors import HPCError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIResult, SCIState

    from dagster_hpc.dice.output_text import DiceText
    from dagster_hpc.dice.validation import Check
    from dagster_hpc.electrons.state import SparseState

_SHARE_OF_MEMORY = 0.5  # of what is free may go into dense amplitudes
CARRYOVER_THRESHOLD = 1e-4  # qiskit-addon-sqd's own
SAME_SPIN = 0.1  # in <S²>: spins mix a little in most subspaces; another one is 2 away at least


class DenseStateTooLarge(HPCError, MemoryError):
    """qiskit-addon-sqd stores all products of alpha and beta strings; a grown set fills a percent of them.

    Example:
        result = dice.solve((strings, strings), one_body, two_body, norb=10, nelec=(1, 1))
        try:
            dense = result.sci_state(max_bytes=500)
        except DenseStateTooLarge as error:
            print(error.advice)
        strings_a, strings_b, coefficients = result.determinants  # there is always room for these
    """


class LeadingDeterminant(NamedTuple):
    """One of the most important determinants. `orbitals`: 2, a, b or 0 for each."""

    orbitals: str
    coefficient: float
    weight: float


@dataclass(frozen=True)
class DiceResult:
    """What Dice found, after all checks.

    Example:
        result = dice.solve((strings, strings), one_body, two_body, norb=10, nelec=(1, 1))
        assert isinstance(result, DiceResult)
        result.energy                          # with the core energy of the FCIDUMP, if that has one
        alpha, beta = result.orbital_occupancies
        strings_a, strings_b, coefficients = result.determinants
        result.sci_result()                    # for qiskit-addon-sqd
    """

    energy: float
    energies: tuple[float, ...]  # of all roots
    state: SparseState
    norb: int
    nelec: tuple[int, int]
    checks: tuple[Check, ...] = ()  # of all roots
    text: DiceText | None = None
    root: int = 0  # its place in `energies`
    others: tuple[DiceResult, ...] = ()  # the other roots

    @property
    def roots(self) -> tuple[DiceResult, ...]:
        """All states that were sought in the order of `energies`, this one among them."""
        return tuple(sorted((self, *self.others), key=lambda one: one.root))

    def of_spin(self, spin_sq: float) -> DiceResult:
        """The first of the roots that has this <S²>; this one if none has."""
        chosen = next((one for one in self.roots if abs(one.spin_square - spin_sq) <= SAME_SPIN), self)
        if chosen is self:
            return self
        others = tuple(replace(one, others=(), text=None) for one in self.roots if one is not chosen)
        return replace(chosen, others=others, text=self.text)

    @property
    def dimension(self) -> int:
        """The number of determinants."""
        return len(self.state)

    @property
    def coefficients(self) -> NDArray[np.float64]:
        """Of each determinant, the largest first."""
        return self.state.coefficients

    @cached_property
    def strings_a(self) -> NDArray[Any]:
        """The different alpha strings, ascending: int64, or Python integers from 64 orbitals on."""
        return integers_of(self.state.alpha, self.norb)

    @cached_property
    def strings_b(self) -> NDArray[Any]:
        return integers_of(self.state.beta, self.norb)

    @property
    def determinants(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
        """Alpha string, beta string and coefficient of each determinant."""
        return self.strings_a[self.state.index_a], self.strings_b[self.state.index_b], self.coefficients

    @cached_property
    def orbital_occupancies(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Alpha and beta electrons per orbital, from the coefficients: more digits than Dice's text file has."""
        return self.state.occupancies()

    @cached_property
    def spin_square(self) -> float:
        """<S²>, computed: Dice ignores the spin that it is asked for."""
        return self.state.spin_square()

    @cached_property
    def rdm1(self) -> NDArray[np.float64]:
        """<p†q> of alpha and beta electrons together, as `make_rdm1` of PySCF; `state.one_rdm()` has them apart."""
        alpha, beta = self.state.one_rdm()
        return alpha + beta

    @cached_property
    def rdm2(self) -> NDArray[np.float64]:
        """Σ over spins of <p†r†sq> at [p, q, r, s], as `make_rdm2` of PySCF; `state.two_rdm()` has the spins apart.

        The energy is Σ h[p,q] rdm1[p,q] + ½ Σ (pq|rs) rdm2[p,q,r,s], and the core.
        """
        return summed(self.state.two_rdm())

    def leading(self, count: int = 10) -> list[LeadingDeterminant]:
        """The determinants with the largest coefficients."""
        first = np.argsort(-np.abs(self.coefficients), kind="stable")[:count]
        alpha, beta = (
            bits_of(words[index[first]], self.norb)
            for words, index in ((self.state.alpha, self.state.index_a), (self.state.beta, self.state.index_b))
        )
        rows = np.frombuffer(b"0ab2", np.uint8)[alpha + 2 * beta]
        values = self.coefficients[first].tolist()
        return [LeadingDeterminant(row.tobytes().decode(), c, c * c) for row, c in zip(rows, values, strict=True)]

    @property
    def dense_bytes(self) -> int:
        """What the dense amplitudes need."""
        return 8 * len(self.state.alpha) * len(self.state.beta)

    def sci_state(self, *, max_bytes: int | None = None) -> SCIState:
        """qiskit-addon-sqd's state, dense over all alpha and beta strings; DenseStateTooLarge where that is too much."""
        self._require_fit(max_bytes)
        from qiskit_addon_sqd.fermion import SCIState

        amplitudes = np.zeros((len(self.state.alpha), len(self.state.beta)))
        amplitudes[self.state.index_a, self.state.index_b] = self.coefficients
        return SCIState(amplitudes, self.strings_a, self.strings_b, norb=self.norb, nelec=self.nelec)

    def sci_result(
        self,
        *,
        return_sci_state: bool = True,
        max_bytes: int | None = None,
        carryover_threshold: float = CARRYOVER_THRESHOLD,
    ) -> SCIResult:
        """qiskit-addon-sqd's result; with the strings to carry over instead of a state where the dense one does not fit."""
        from qiskit_addon_sqd.fermion import SCIResult

        if return_sci_state and self.dense_bytes <= _allowed(max_bytes):
            return SCIResult(self.energy, self.sci_state(max_bytes=max_bytes), self.orbital_occupancies)
        if "carryover" not in {field.name for field in fields(SCIResult)}:
            self._require_fit(max_bytes, "this qiskit-addon-sqd takes no result without a state; install a newer one.")
            return SCIResult(self.energy, self.sci_state(max_bytes=max_bytes), self.orbital_occupancies)
        return SCIResult(self.energy, None, self.orbital_occupancies, carryover=self.carryover(carryover_threshold))

    def carryover(
        self, threshold: float = CARRYOVER_THRESHOLD, *, symmetrize_spin: bool = False
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """The strings for the next iteration, as qiskit-addon-sqd would choose and rank them from the dense state.

        Those in a determinant with a coefficient of at least `threshold`, by their summed squared coefficients, descending.
        """
        large = np.abs(self.coefficients) >= threshold
        chosen = []
        for index, strings, weight in zip(
            (self.state.index_a, self.state.index_b),
            (self.strings_a, self.strings_b),
            self.state.weights(),
            strict=True,
        ):
            kept = np.unique(index[large])
            chosen.append((strings[kept], weight[kept]))
        if not symmetrize_spin:
            first, second = (strings[np.argsort(-weight, kind="stable")] for strings, weight in chosen)
            return first, second
        strings, weight = (np.concatenate(column) for column in zip(*chosen, strict=True))
        ranked = strings[np.argsort(-weight, kind="stable")]
        once = ranked[np.sort(np.unique(ranked, return_index=True)[1])]
        return once, once

    def _require_fit(self, max_bytes: int | None, advice: str = "") -> None:
        allowed = _allowed(max_bytes)
        if self.dense_bytes > allowed:
            count_a, count_b = len(self.state.alpha), len(self.state.beta)
            raise DenseStateTooLarge(
                f"the dense state of {self.dimension} determinants holds all {count_a} x {count_b} products of their "
                f"strings: {self.dense_bytes / 2**20:.1f} MiB, more than the {allowed / 2**20:.1f} MiB allowed",
                advice=advice or "use `determinants` and `carryover()`, or sci_result(), which does without it.",
            )


def _allowed(max_bytes: int | None) -> int:
    if max_bytes is not None:
        return max_bytes
    return int(_free_memory() * _SHARE_OF_MEMORY)


def _free_memory() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        lines = []
    available = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(available) * 1024 if available else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
