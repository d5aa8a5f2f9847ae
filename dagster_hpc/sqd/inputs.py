"""What `run_sqd` is asked, and what it refuses before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.spin import lowest_spin_sq

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.molecule import MolecularIntegrals
    from dagster_hpc.sqd.values import Problem

CIString: TypeAlias = 'int | Literal["hf"]'  # "hf": that of the reference determinant, of each spin its own
Included: TypeAlias = "tuple[tuple[CIString, ...], tuple[CIString, ...]]"


@dataclass(frozen=True)
class Settings:
    """How the loop goes; the names are those of qiskit-addon-sqd."""

    samples_per_batch: int
    num_batches: int = 1
    energy_tol: float = 1e-8
    occupancies_tol: float = 1e-5
    symmetrize_spin: bool = False
    max_dim: int | tuple[int, int] | None = None
    include_configurations: Included | None = None
    carryover_threshold: float = 1e-4
    seed: int = 0
    spin_sq: float | None = None
    policy: Any = None  # as `policy_settings` describes it


def both_spins(
    given: Literal["hf"] | Sequence[CIString] | tuple[Sequence[CIString], Sequence[CIString]] | None,
) -> Included | None:
    """Strings for alpha and for beta: a pair of lists, or what is given for both."""
    if given is None:
        return None
    if isinstance(given, str):
        given = [given]
    pair: Any = given if isinstance(given, tuple) and len(given) == 2 and _is_list(given[0]) else (given, given)
    return _words(pair[0]), _words(pair[1])


def _words(strings: Sequence[CIString]) -> tuple[CIString, ...]:
    return tuple("hf" if one == "hf" else int(one) for one in strings)


def _is_list(value: Any) -> bool:
    return not isinstance(value, str) and np.ndim(value) == 1


def as_arrays(included: Included | None, integrals: MolecularIntegrals) -> Any:
    """As qiskit-addon-sqd takes them."""
    if included is None:
        return None
    kind = object if integrals.norb > 63 else np.int64
    return tuple(
        np.array([(1 << count) - 1 if one == "hf" else one for one in part], kind)
        for part, count in zip(included, integrals.nelec, strict=True)
    )


def right_electrons(bitstrings: NDArray[np.bool_], integrals: MolecularIntegrals) -> NDArray[np.bool_]:
    """Of each shot, whether it has the molecule's numbers of alpha and of beta electrons."""
    norb, (alpha, beta) = integrals.norb, integrals.nelec
    right: NDArray[np.bool_] = (bitstrings[:, norb:].sum(axis=1) == alpha) & (bitstrings[:, :norb].sum(axis=1) == beta)
    return right


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
    if settings.spin_sq is not None and not settings.spin_sq >= 0:
        faults.append(
            f"spin_sq is {settings.spin_sq}; <S²> is S(S+1): 0 of a singlet, 0.75 of a doublet, 2 of a triplet"
        )
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
    faults = [
        f"include_configurations has the {spin} string {string:b}; wanted are {count} electrons in {norb} orbitals"
        for spin, part, count in zip(("alpha", "beta"), settings.include_configurations or ((), ()), nelec, strict=True)
        for string in part
        if string != "hf" and (string < 0 or string.bit_count() != count or string >> norb)
    ]
    lowest = lowest_spin_sq(nelec)
    if settings.spin_sq is not None and settings.spin_sq < lowest - 1e-9:
        faults.append(
            f"spin_sq is {settings.spin_sq:g}; with {nelec[0]} alpha and {nelec[1]} beta electrons it is {lowest:g} at least"
        )
    if faults:
        raise ConfigurationError(faults)
    limits = settings.max_dim if isinstance(settings.max_dim, tuple) else (settings.max_dim,) * 2
    if settings.symmetrize_spin and (nelec[0] != nelec[1] or limits[0] != limits[1]):
        raise ConfigurationError(
            f"symmetrize_spin needs as many alpha as beta electrons, here {nelec[0]} and {nelec[1]}, and one max_dim"
        )
    occupancies = problem.occupancies
    if occupancies is not None and any(np.shape(part) != (norb,) for part in occupancies):
        raise ConfigurationError(f"initial_occupancies must be two arrays of {norb} numbers, alpha and beta")
    if occupancies is None and not right_electrons(bitstrings, problem.integrals).any():
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
