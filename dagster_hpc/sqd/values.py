"""What the steps of SQD hand on: a Hamiltonian, samples of it, the iterations of the loop and their result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dagster_hpc.electrons.densities import summed
from dagster_hpc.electrons.state import SparseState
from dagster_hpc.engine.errors import HPCError
from dagster_hpc.sqd.molecule import MolecularIntegrals, Molecule, signature_of
from dagster_hpc.sqd.spin import lowest_spin_sq

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIState

Strings: TypeAlias = "NDArray[Any]"
Subspace: TypeAlias = "tuple[Strings, Strings]"
Occupancies: TypeAlias = "tuple[NDArray[np.float64], NDArray[np.float64]]"

MILLI = 1000.0
NO_STRINGS: Subspace = (np.empty(0, np.int64), np.empty(0, np.int64))


class StateNotKnown(HPCError):
    """Something is asked of a state that its solver did not hand over."""


@dataclass(frozen=True)
class Hamiltonian:
    """A molecule in the very orbitals in which it is sampled and diagonalized, as text: the same in every process.

    Example:
        hamiltonian = Hamiltonian.of(molecule)  # the value of `<name>_hamiltonian`
        one_body, two_body, core_energy, norb, nelec = hamiltonian.integrals()
        print(hamiltonian.signature, hamiltonian.reference_energy, hamiltonian.ccsd_energy)
    """

    molecule: Molecule
    fcidump: str
    spin: int
    reference_energy: float
    ccsd_energy: float | None  # None where CCSD does not converge
    occupancies: Occupancies  # of CCSD, else of the reference determinant

    @classmethod
    def of(cls, molecule: Molecule) -> Hamiltonian:
        from dagster_hpc.electrons.fcidump import fcidump_bytes, integrals_of

        h, eri, core, _, nelec = molecule.integrals()
        text = fcidump_bytes(integrals_of(h, eri, core), nelec).decode()
        unsolved = cls(molecule, text, nelec[0] - nelec[1], molecule.hf_energy(), None, ((), ()))  # type: ignore[arg-type]
        with unsolved.opened() as same:  # amplitudes and occupancies in the orbitals of the text
            amplitudes = same.amplitudes()
            return replace(
                unsolved,
                ccsd_energy=unsolved.reference_energy + amplitudes.correlation_energy if amplitudes.converged else None,
                occupancies=same.initial_occupancies(),
            )

    @property
    def signature(self) -> str:
        """By which samples know that they were drawn for it."""
        return signature_of(self.integrals())

    def opened(self) -> _Opened:
        """A `Molecule` of the text, for as long as the block lasts."""
        return _Opened(self)

    def integrals(self) -> MolecularIntegrals:
        with self.opened() as molecule:
            return molecule.integrals()


class _Opened:
    def __init__(self, hamiltonian: Hamiltonian) -> None:
        self._hamiltonian, self._folder = hamiltonian, TemporaryDirectory(prefix="dagster-hpc-sqd-")

    def __enter__(self) -> Molecule:
        path = Path(self._folder.name) / "fcidump.txt"
        path.write_text(self._hamiltonian.fcidump)
        return Molecule.from_fcidump(path, spin=self._hamiltonian.spin)

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


@dataclass(frozen=True)
class Samples:
    """Bitstrings of an active space, alpha in the right half, and where they come from.

    Example:
        bits = sample_bitstrings("uniform", molecule, shots=300, seed=24)
        samples = Samples(bits, norb=10, nelec=(1, 1), seed=24, source={"kind": "uniform"})
        print(samples.right_electrons)
    """

    bitstrings: NDArray[np.bool_]
    norb: int
    nelec: tuple[int, int]
    seed: int
    source: Mapping[str, Any]
    hamiltonian: str = ""  # signature of the Hamiltonian that they were drawn for; empty where nobody wrote it down

    @property
    def right_electrons(self) -> float:
        """The share of the shots with the right numbers of electrons."""
        alpha, beta = self.bitstrings[:, self.norb :].sum(axis=1), self.bitstrings[:, : self.norb].sum(axis=1)
        return float(np.mean((alpha == self.nelec[0]) & (beta == self.nelec[1])))


@dataclass(frozen=True)
class Problem:
    """What is diagonalized, and where recovery starts."""

    integrals: MolecularIntegrals
    occupancies: Occupancies | None

    @property
    def reference_energy(self) -> float:
        h, eri, core, _, nelec = self.integrals
        total = core
        for count in nelec:
            i = np.arange(count)
            total += float(np.trace(h[:count, :count])) - 0.5 * float(eri[i[:, None], i, i, i[:, None]].sum())
            total += 0.5 * sum(float(eri[i[:, None], i[:, None], j, j].sum()) for j in map(np.arange, nelec))
        return total


@dataclass(frozen=True)
class Iteration:
    """What one iteration came to. Energies are of the active electrons, without the core.

    What stands after `jobs` is None, or nothing, in values that version 0.1 stored.

    Example:
        result = run_sqd(molecule, samples, seed=24, samples_per_batch=20, max_iterations=2)
        for one in result.iterations:
            assert isinstance(one, Iteration)
            print(one.number, one.energy, one.determinants, one.seconds)
    """

    number: int  # the first is 1
    energies: tuple[float, ...]  # of all batches; with a policy of several rounds, of the last
    energy: float  # of the state that the policy chose; the lowest, unless it says otherwise
    occupancies: Occupancies
    carryover: Subspace
    subspaces: tuple[tuple[int, int], ...]  # alpha and beta strings of each batch
    seconds: float
    rng_state: Mapping[str, Any]  # as the next iteration finds it
    spin_square: float | None = None
    determinants: int | None = None  # of the lowest state; None where only the subspace is known
    jobs: tuple[Mapping[str, Any], ...] = ()  # what each job cost
    samples: int | None = None  # different configurations, all with the right electrons, that batches are drawn from
    right_shots: float | None = None  # share of the shots that were measured with the right electrons
    recovered: float | None = None  # share of the shots to which recovery gave the right electrons
    made: int | None = None  # of the samples, those that recovery made and nobody measured
    new_strings: Subspace = NO_STRINGS  # alpha and beta strings that were in no subspace before
    rounds: int = 1  # of diagonalizations
    in_process: int = 0  # subspaces that were solved in the process of the step, without a job

    @property
    def largest_subspace(self) -> int:
        return max((a * b for a, b in self.subspaces), default=0)


def best_of(iterations: Sequence[Iteration]) -> Iteration:
    """The first of the lowest energy, as in qiskit-addon-sqd."""
    return min(iterations, key=lambda iteration: iteration.energy)


def node_hours_of(jobs: Sequence[Mapping[str, Any]]) -> float | None:
    """The sum over jobs; None where one of them does not say."""
    hours = [job.get("node_hours") for job in jobs]
    known = [float(one) for one in hours if one is not None]
    return sum(known) if known and len(known) == len(hours) else None


@dataclass(frozen=True)
class SQDResult:
    """The lowest state that the loop has met, and how it got there.

    Example:
        result = run_sqd(molecule, samples, seed=24, samples_per_batch=20, max_iterations=2)
        assert isinstance(result, SQDResult)
        result.total_energy                    # with nuclear repulsion and frozen orbitals
        result.sci_state.amplitudes            # None where the solver keeps its state to itself
        [one.energy for one in result.iterations]
    """

    energy: float  # of the active electrons
    core_energy: float
    reference_energy: float  # of the reference determinant, core included
    occupancies: Occupancies
    sci_state: SCIState | None
    iterations: tuple[Iteration, ...]
    converged: bool
    norb: int
    nelec: tuple[int, int]
    seed: int
    resumed: int = 0  # so many iterations were there already
    spin_sq: float | None = None  # the <S²> that was asked for

    @property
    def total_energy(self) -> float:
        return self.energy + self.core_energy

    @property
    def correlation_energy(self) -> float:
        """What is gained over the reference determinant: negative, unless the samples were poor."""
        return self.total_energy - self.reference_energy

    @property
    def rdm1(self) -> NDArray[np.float64]:
        """<p†q> of alpha and beta electrons together, as `make_rdm1` of PySCF."""
        alpha, beta = self._sparse_state().one_rdm()
        return alpha + beta

    @property
    def rdm2(self) -> NDArray[np.float64]:
        """Σ over spins of <p†r†sq> at [p, q, r, s], as `make_rdm2` of PySCF."""
        return summed(self._sparse_state().two_rdm())

    def _sparse_state(self) -> SparseState:
        if self.sci_state is None:
            raise StateNotKnown(
                "the solver kept its state to itself, so that there are no density matrices of this result",
                advice="solve its best subspace again with return_sci_state=True.",
            )
        return SparseState.of_dense(self.sci_state)

    @property
    def best(self) -> Iteration:
        return best_of(self.iterations)

    @property
    def spin_square(self) -> float | None:
        return self.best.spin_square

    @property
    def wanted_spin_sq(self) -> float:
        """What <S²> should be: as it was asked for, else that of the lowest spin that these electrons can have."""
        return lowest_spin_sq(self.nelec) if self.spin_sq is None else self.spin_sq

    @property
    def complete(self) -> bool:
        """Whether all determinants of these orbitals were in a subspace: there is nothing more to sample."""
        everything = comb(self.norb, self.nelec[0]) * comb(self.norb, self.nelec[1])
        return any(one.largest_subspace == everything for one in self.iterations)

    @property
    def determinants(self) -> int:
        """In the state, or in the subspace where the state is not known."""
        best = self.best
        return best.largest_subspace if best.determinants is None else best.determinants

    @property
    def jobs(self) -> tuple[Mapping[str, Any], ...]:
        """Of all iterations, those before a crash included."""
        return tuple(job for iteration in self.iterations for job in iteration.jobs)

    @property
    def node_hours(self) -> float | None:
        """The sum over all jobs; None where one of them does not say."""
        return node_hours_of(self.jobs)

    @property
    def node_hours_per_millihartree(self) -> float | None:
        """The price of the correlation energy that was gained."""
        if self.node_hours is None or self.correlation_energy >= 0:
            return None
        return self.node_hours / (-self.correlation_energy * MILLI)
