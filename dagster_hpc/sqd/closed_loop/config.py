"""What the launchpad offers for the closed loop."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

import dagster as dg
from pydantic import Field

from dagster_hpc.resources.profile import ProfileOverrides
from dagster_hpc.sqd.closed_loop.evolution import SMALLEST
from dagster_hpc.sqd.solver import IN_PROCESS_BELOW


class ClosedLoopConfig(dg.Config):
    """What the launchpad offers for the closed loop.

    Example:
        asset = build_closed_loop_asset(molecule, name="h2_circuit", population=16)  # its defaults, given once
        config = dg.RunConfig(ops={"h2_circuit": ClosedLoopConfig(generations=40, population=16)})  # of one run
    """

    generations: int = Field(default=10, ge=1, description="In all; a larger number later goes on from where it ended.")
    population: int = Field(default=8, ge=SMALLEST, description="Trials in each generation.")
    shots: int = Field(default=1000, ge=1, description="Of the circuit of each trial.")
    seed: int = Field(default=24, ge=0, description="All randomness comes from it.")
    samples_per_batch: int = Field(default=100, ge=1, description="Bitstrings in the subspace of each trial.")
    sqd_iterations: int = Field(default=2, ge=1, description="Iterations of SQD for each trial.")
    max_dim: int | None = Field(
        default=None, description="Most strings of each spin, half of them carried over at most; null: no limit."
    )
    symmetrize_spin: bool = Field(default=False, description="The same strings for alpha and beta.")
    carryover_threshold: float = Field(
        default=1e-3,
        ge=0,
        description="Strings of the best trial with larger coefficients go into every later subspace.",
    )
    spin_sq: float | None = Field(
        default=None, description="The <S²> that is wanted, e.g. 0 for a singlet; null: the lowest state."
    )
    in_process_below: int = Field(
        default=IN_PROCESS_BELOW,
        ge=0,
        description="Subspaces with fewer determinants are solved in the step itself, without a job; 0: none are.",
    )
    initial_occupancies: str | None = Field(
        default="ccsd",
        description="Where recovery starts: ccsd, hf, or null for samples with the right electrons only.",
    )
    strategy: str = Field(default="best1bin", description="Of differential evolution: best1bin or rand1bin.")
    weight: float = Field(default=0.6, gt=0, description="Of the difference of two members in a challenger.")
    crossover: float = Field(default=0.8, ge=0, le=1, description="Share of a challenger's parameters that are new.")
    spread: float = Field(
        default=0.05, gt=0, description="Standard deviation of the starting population about the parameters of CCSD."
    )
    reach: float = Field(default=0.5, gt=0, description="Parameters stay this near to those of CCSD.")
    profile: str | None = Field(default=None, description="Another execution profile for the jobs of the solver.")
    overrides: ProfileOverrides = Field(
        default=ProfileOverrides(), description="Fields of the profile to replace, e.g. walltime."
    )
    reuse: str = Field(
        default="succeeded",
        description="succeeded: take what earlier runs with the same inputs have finished; never: start anew.",
    )
