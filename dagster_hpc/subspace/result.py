"""Answers: what every one of them has, and one that comes without a state."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIResult

    from dagster_hpc.subspace.checks import Check


class SubspaceResult(Protocol):
    """The lowest state of a subspace, as far as its solver tells of it.

    Example:
        def electrons(result: SubspaceResult) -> float:
            return float(sum(spin.sum() for spin in result.orbital_occupancies))

        result = dice.solve((strings, strings), one_body, two_body, norb=10, nelec=(1, 1))
        assert round(electrons(result), 6) == 2
    """

    @property
    def energy(self) -> float: ...

    @property
    def orbital_occupancies(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Alpha and beta electrons per orbital."""
        ...

    @property
    def spin_square(self) -> float | None:
        """<S²>; None where the solver gives no state to compute it from."""
        ...

    @property
    def dimension(self) -> int | None:
        """The number of determinants; None where it is not known."""
        ...

    @property
    def checks(self) -> tuple[Check, ...]: ...

    def sci_result(self, *, return_sci_state: bool = True) -> SCIResult:
        """qiskit-addon-sqd's result; with the strings to carry over where there is no state, or none is wanted."""
        ...


@dataclass(frozen=True)
class StatelessResult:
    """An answer without a state: an energy, occupancies, and the strings that are worth carrying over.

    Example:
        occupancies = np.array([0.98, 0.02])
        answer = StatelessResult(-1.1, (occupancies, occupancies), carryover=(np.array([1, 2]), np.array([1, 2])))
        assert answer.sci_result().sci_state is None
    """

    energy: float
    orbital_occupancies: tuple[NDArray[np.float64], NDArray[np.float64]]
    carryover: tuple[NDArray[Any], NDArray[Any]]  # alpha and beta strings, the most important first
    dimension: int | None = None
    spin_square: float | None = None
    checks: tuple[Check, ...] = ()

    def sci_result(self, *, return_sci_state: bool = True) -> SCIResult:
        """Without a state whatever is wanted: there is none."""
        from qiskit_addon_sqd.fermion import SCIResult

        if "carryover" not in {field.name for field in fields(SCIResult)}:
            raise ConfigurationError(
                "this qiskit-addon-sqd takes no result without a state", advice="install a newer qiskit-addon-sqd."
            )
        return SCIResult(self.energy, None, self.orbital_occupancies, carryover=self.carryover)
