"""What the launchpad offers for the samples and for the loop."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

from collections.abc import Mapping
from copy import copy
from typing import Any

import dagster as dg
from pydantic import Field, create_model

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.resources.profile import ProfileOverrides


class SamplingConfig(dg.Config):
    """What the launchpad offers for the samples."""

    shots: int = Field(default=10_000, ge=1, description="How many bitstrings to draw.")
    seed: int = Field(default=24, ge=0, description="All randomness comes from it, that of the loop too.")


class SQDConfig(dg.Config):
    """What the launchpad offers for the loop."""

    samples_per_batch: int = Field(default=300, ge=1, description="Bitstrings in each subspace.")
    num_batches: int = Field(default=3, ge=1, description="Subspaces in each iteration: jobs that run side by side.")
    max_iterations: int = Field(
        default=10, ge=1, description="At most; a larger number later goes on from where it ended."
    )
    energy_tol: float = Field(default=1e-8, ge=0, description="Converged when the energy changes by less, in Hartree.")
    occupancies_tol: float = Field(default=1e-5, ge=0, description="… and no occupancy changes by more.")
    symmetrize_spin: bool = Field(default=False, description="The same strings for alpha and beta.")
    max_dim: int | None = Field(default=None, description="Most strings of each spin; null: no limit.")
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
    for key, value in defaults.items():
        if key not in base.model_fields:
            known = ", ".join(base.model_fields)
            raise ConfigurationError(f"there is no option {key!r}; the loop's are {known}")
        info = copy(base.model_fields[key])
        info.default = value
        fields[key] = (info.annotation, info)
    return create_model(name, __base__=base, __doc__=base.__doc__, **fields)
