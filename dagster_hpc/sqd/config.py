"""What the launchpad offers for the samples and for the loop."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, create_model

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.resources.profile import ProfileOverrides
from dagster_hpc.sqd.inputs import CIString
from dagster_hpc.sqd.solver import IN_PROCESS_BELOW

if TYPE_CHECKING:
    from qiskit_addon_sqd.fermion import SubspacePolicy


class SamplingConfig(dg.Config):
    """What the launchpad offers for the samples."""

    shots: int = Field(default=10_000, ge=1, description="How many bitstrings to draw.")
    seed: int = Field(default=24, ge=0, description="All randomness comes from it, that of the loop too.")


class SQDConfig(dg.Config):
    """What the launchpad offers for the loop.

    Example:
        assets = build_sqd_assets(molecule, name="h2", samples_per_batch=50)  # its defaults, given once
        config = dg.RunConfig(ops={"h2_result": SQDConfig(samples_per_batch=100, max_iterations=20)})  # of one run
    """

    samples_per_batch: int = Field(default=300, ge=1, description="Bitstrings in each subspace.")
    num_batches: int = Field(default=3, ge=1, description="Subspaces in each iteration: jobs that run side by side.")
    max_iterations: int = Field(
        default=10, ge=1, description="At most; a larger number later goes on from where it ended."
    )
    energy_tol: float = Field(default=1e-8, ge=0, description="Converged when the energy changes by less, in Hartree.")
    occupancies_tol: float = Field(default=1e-5, ge=0, description="… and no occupancy changes by more.")
    symmetrize_spin: bool = Field(default=False, description="The same strings for alpha and beta.")
    max_dim: int | None = Field(default=None, description="Most strings of each spin; null: no limit.")
    max_dim_beta: int | None = Field(default=None, description="Most beta strings, where it is not max_dim.")
    include_configurations: list[str] | None = Field(
        default=None,
        description="Strings of every subspace: numbers such as 0b0111, or hf; alpha:beta where they differ.",
    )
    spin_sq: float | None = Field(
        default=None,
        description="The <S²> that is wanted, e.g. 0 for a singlet; null: the lowest state, and a warning where its spin is "
        "not that of the molecule.",
    )
    policy: str = Field(
        default="standard",
        description="standard: the lowest batch counts; trim: batches are screened, and what survives is diagonalized.",
    )
    trim_ratio: float = Field(
        default=0.1, gt=0, le=1, description="trim: the share of each batch's strings that survives."
    )
    max_strings_per_trim: int | None = Field(
        default=None, ge=1, description="trim: most strings of a batch that survive."
    )
    carryover_ratio: float = Field(
        default=0.1, gt=0, le=1, description="trim: the share of strings that is carried over."
    )
    max_carryover: int | None = Field(default=None, ge=1, description="trim: most strings that are carried over.")
    in_process_below: int = Field(
        default=IN_PROCESS_BELOW,
        ge=0,
        description="Subspaces with fewer determinants are solved in the step itself, without a job; 0: none are.",
    )
    carryover_threshold: float = Field(
        default=1e-4, ge=0, description="Strings with larger coefficients stay for the next iteration."
    )
    initial_occupancies: str | None = Field(
        default="ccsd",
        description="Where recovery starts: ccsd, hf, or null for samples with the right electrons only.",
    )
    profile: str | None = Field(default=None, description="Another execution profile for the jobs of the solver.")
    overrides: ProfileOverrides = Field(
        default=ProfileOverrides(), description="Fields of the profile to replace, e.g. walltime."
    )
    reuse: str = Field(
        default="succeeded",
        description="succeeded: take what earlier runs with the same inputs have finished; never: start anew.",
    )


def with_defaults(base: type[dg.Config], name: str, defaults: Mapping[str, Any]) -> Any:
    """The config class with other defaults: what the launchpad shows is what happens."""
    fields: dict[str, Any] = {}
    for key, value in _as_fields(defaults).items():
        if key not in base.model_fields:
            known = ", ".join(base.model_fields)
            raise ConfigurationError(f"there is no option {key!r}; the loop's are {known}")
        info = copy(base.model_fields[key])
        info.default = value
        fields[key] = (info.annotation, info)
    return create_model(name, __base__=base, __doc__=base.__doc__, **fields)


def _as_fields(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a script gives as tuples and numbers, in the words of the launchpad."""
    given = dict(defaults)
    if isinstance(given.get("max_dim"), (tuple, list)):
        given["max_dim"], given["max_dim_beta"] = given["max_dim"]
    included = given.get("include_configurations")
    if isinstance(included, tuple) and len(included) == 2 and not isinstance(included[0], (str, int)):
        alpha, beta = included
        given["include_configurations"] = [f"{a}:" for a in alpha] + [f":{b}" for b in beta]
    elif included is not None:
        given["include_configurations"] = [included] if isinstance(included, str) else [str(one) for one in included]
    return given


def included_of(words: Sequence[str] | None) -> Any:
    """`include_configurations` of `run_sqd`: "7" is a string of both spins, "7:11" one of alpha and one of beta."""
    if words is None:
        return None
    alpha: list[CIString] = []
    beta: list[CIString] = []
    for word in words:
        first, colon, second = word.partition(":")
        for one, strings in ((first, alpha), (second if colon else first, beta)):
            if one.strip():
                strings.append(_string_of(one.strip()))
    return alpha, beta


def _string_of(word: str) -> CIString:
    if word == "hf":
        return "hf"
    try:
        return int(word, 0)
    except ValueError:
        raise ConfigurationError(
            f"include_configurations has {word!r}; it is a number such as 7, 0x7 or 0b111, or hf"
        ) from None


def max_dim_of(config: SQDConfig) -> int | tuple[int, int] | None:
    """`max_dim` of `run_sqd`."""
    if config.max_dim_beta is None:
        return config.max_dim
    if config.max_dim is None:
        raise ConfigurationError("max_dim_beta needs max_dim, which is then the limit of the alpha strings")
    return config.max_dim, config.max_dim_beta


def policy_of(config: SQDConfig) -> "SubspacePolicy | None":
    """`policy` of `run_sqd`; None is the standard one."""
    if config.policy == "standard":
        return None
    if config.policy != "trim":
        raise ConfigurationError(f"policy is {config.policy!r}; it is standard or trim")
    from qiskit_addon_sqd.trim import TrimPolicy

    return TrimPolicy(
        trim_ratio=config.trim_ratio,
        carryover_threshold=config.carryover_threshold,
        carryover_ratio=config.carryover_ratio,
        max_strings_per_trim=config.max_strings_per_trim,
        max_carryover=config.max_carryover,
    )
