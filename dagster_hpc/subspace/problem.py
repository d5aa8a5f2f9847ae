"""What is asked of a solver: subspaces of one Hamiltonian, and what all of them have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.electrons.integrals import Integrals
    from dagster_hpc.resources.profile import ExecutionProfile

Strings: TypeAlias = "Sequence[int] | NDArray[Any]"  # integers: bit p is orbital p
StringPair: TypeAlias = "tuple[Strings, Strings]"  # alpha, beta


class Subspace(NamedTuple):
    r"""All products of these alpha and beta strings. `parent_energy`: that of a subspace of it, an upper bound.

    Example:
        def input_files(subspace: Subspace) -> dict[str, bytes]:  # of a solver of one's own
            return {"strings.txt": "\n".join(map(str, subspace.alpha)).encode()}

        files = input_files(Subspace(strings, strings[:5]))
        assert Subspace(strings, strings[:5]).size == 50
    """

    alpha: Strings
    beta: Strings
    parent_energy: float | None = None

    @property
    def size(self) -> int:
        """The number of products."""
        return len(self.alpha) * len(self.beta)


@dataclass(frozen=True)
class Problem:
    """What is common to all subspaces of one call. `profile` is that of the jobs, with all that was overridden.

    Example:
        def lists_two_electrons(problem: Problem) -> list[str]:  # `words` of a solver
            return ["two-electrons", f"--orbitals={problem.norb}", f"--threads={problem.profile.ompthreads}"]
    """

    norb: int
    nelec: tuple[int, int]
    integrals: Integrals
    profile: ExecutionProfile
    spin_sq: float | None = None


@dataclass(frozen=True)
class Foresight:
    """What jobs should ask for (fields of the profile), and sentences about what may go wrong with it."""

    overrides: Mapping[str, Any] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
