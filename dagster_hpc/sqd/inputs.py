"""What `run_sqd` is asked, and what it refuses before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.values import Problem


@dataclass(frozen=True)
class Settings:
    """How the loop goes; the names are those of qiskit-addon-sqd."""

    samples_per_batch: int
    num_batches: int = 1
    energy_tol: float = 1e-8
    occupancies_tol: float = 1e-5
    symmetrize_spin: bool = False
    max_dim: int | tuple[int, int] | None = None
    include_configurations: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    carryover_threshold: float = 1e-4
    seed: int = 0


def both_spins(
    given: Sequence[int] | tuple[Sequence[int], Sequence[int]] | None,
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    if given is None:
        return None
    pair: Any = given if isinstance(given, tuple) and len(given) == 2 and np.ndim(given[0]) == 1 else (given, given)
    return tuple(int(one) for one in pair[0]), tuple(int(one) for one in pair[1])


def as_arrays(pair: tuple[tuple[int, ...], tuple[int, ...]] | None, norb: int) -> Any:
    return None if pair is None else tuple(np.array(one, object if norb > 63 else np.int64) for one in pair)


def refuse_nonsense(settings: Settings, bitstrings: NDArray[Any], max_iterations: int) -> None:
    whole = {
        "samples_per_batch": settings.samples_per_batch,
        "num_batches": settings.num_batches,
        "max_iterations": max_iterations,
    }
    faults = [f"{name} is {value}; it must be at least 1" for name, value in whole.items() if value < 1]
    if isinstance(settings.seed, bool) or not isinstance(settings.seed, int) or settings.seed < 0:
        faults.append(f"seed is {settings.seed!r}; it must be a whole number, from which all randomness comes")
    for name in ("energy_tol", "occupancies_tol", "carryover_threshold"):
        if not getattr(settings, name) >= 0:
            faults.append(f"{name} is {getattr(settings, name)}; it must not be negative")
    if bitstrings.ndim != 2 or bitstrings.dtype != bool or not bitstrings.size:
        faults.append(
            f"the bitstrings are {bitstrings.dtype} of shape {bitstrings.shape}; wanted is a matrix of booleans with a "
            "row for each shot, as sample_bitstrings gives it"
        )
    if faults:
        raise ConfigurationError(faults)


def refuse_misfit(problem: Problem, bitstrings: NDArray[np.bool_], settings: Settings) -> None:
    norb, nelec = problem.integrals.norb, problem.integrals.nelec
    if bitstrings.shape[1] != 2 * norb:
        raise ConfigurationError(
            f"the bitstrings have {bitstrings.shape[1]} bits; {norb} orbitals need {2 * norb}, beta to the left of alpha"
        )
    limits = settings.max_dim if isinstance(settings.max_dim, tuple) else (settings.max_dim,) * 2
    if settings.symmetrize_spin and (nelec[0] != nelec[1] or limits[0] != limits[1]):
        raise ConfigurationError(
            f"symmetrize_spin needs as many alpha as beta electrons, here {nelec[0]} and {nelec[1]}, and one max_dim"
        )
    occupancies = problem.occupancies
    if occupancies is not None and any(np.shape(part) != (norb,) for part in occupancies):
        raise ConfigurationError(f"initial_occupancies must be two arrays of {norb} numbers, alpha and beta")
    right = (bitstrings[:, norb:].sum(axis=1) == nelec[0]) & (bitstrings[:, :norb].sum(axis=1) == nelec[1])
    if occupancies is None and not right.any():
        raise ConfigurationError(
            f"none of the {len(bitstrings)} bitstrings has {nelec[0]} alpha and {nelec[1]} beta electrons",
            advice="give initial_occupancies (such as 'ccsd'), from which configurations are recovered.",
        )


def require_addon() -> None:
    try:
        from qiskit_addon_sqd.fermion import StandardPolicy  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"run_sqd needs qiskit-addon-sqd 0.14 or later: {error}",
            advice='pip install "dagster-hpc[sqd]" "qiskit-addon-sqd>=0.14"',
        ) from error
