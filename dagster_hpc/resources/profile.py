"""HOW: how many nodes, ranks and threads, for how long, started by what, in which environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Optional, get_origin

import dagster as dg
from pydantic import ConfigDict, Field, ValidationError, create_model

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean

ResourceClass = Literal["cpu", "gpu"]
# The first chooses queue and project, which a profile's author decides; the other is about the profile as it is.
NOT_OVERRIDABLE = ("resource_class", "description")


class ExecutionProfile(dg.ConfigurableResource):  # type: ignore[type-arg]
    """How a command runs well, written once by somebody who knows, used by everybody.

    Example:
        ExecutionProfile(num_nodes=2, mpiprocs=8, walltime="01:00:00", launcher="srun", modules=["openmpi"])
    """

    model_config = ConfigDict(extra="forbid")  # a mistyped field is an error, not silently the default

    description: str = Field(default="", description="What it is for, in a sentence: the launchpad shows it.")
    resource_class: ResourceClass = Field(
        default="cpu", description="Which of the target's queues and projects: cpu or gpu."
    )
    num_nodes: int = Field(default=1, gt=0, description="Nodes.")
    mpiprocs: int = Field(default=1, gt=0, description="MPI ranks on each node.")
    ompthreads: int | None = Field(default=None, gt=0, description="Cores and OpenMP threads of each rank.")
    gpus_per_node: int = Field(default=0, ge=0, description="GPUs on each node.")
    memory_per_node: str | None = Field(default=None, description="Memory on each node, as in 16G or 512MiB.")
    walltime: str = Field(
        default="00:05:00",
        # YAML takes 10:00:00 without quotes for a number in base 60.
        description="Longest run time: HH:MM:SS, D-HH:MM:SS or seconds, on the launchpad in quotes; or 90m, 1h30m.",
    )
    launcher: Literal["single", "srun", "mpirun", "mpiexec", "mpiexec.hydra", "flux"] = Field(
        default="single", description="What starts the ranks; 'single' starts one process and no MPI."
    )
    mpi_options: list[str] = Field(default=[], description="Further words for the launcher, each one argument.")
    modules: list[str] = Field(default=[], description="Environment modules, loaded in this order.")
    pre_commands: list[str] = Field(
        default=[], description="Shell lines run before the command; one that fails ends the job."
    )
    environments: dict[str, str] = Field(default={}, description="Environment variables; EnvVar(…) for a secret one.")
    secret_environments: list[str] = Field(
        default=[],
        description="Names of environments whose values stand in no script and no metadata. An EnvVar is secret by itself.",
    )
    python: str = Field(
        default="",
        description="Python that runs functions: absolute path, or a word found once modules and pre_commands have run; "
        "empty: the target's.",
    )
    container: str | None = Field(default=None, description="Apptainer image in which the command runs.")
    exclusive: bool = Field(default=False, description="Whole nodes for this job alone.")
    qos: str | None = Field(default=None, description="Quality of service, where the scheduler has it.")
    reservation: str | None = Field(default=None, description="Reservation to run in.")
    signal_before_end: str | None = Field(
        default=None, description="Warn the job before its walltime ends: USR1@120, TERM@5m."
    )
    mail_to: str | None = Field(
        default=None, description="Whom the scheduler itself writes to: a mail address, or a user's name where it takes one."
    )
    mail_on: list[str] = Field(
        default=["end", "fail"], description="When it does that: begin, end, fail. Nothing is sent without mail_to."
    )
    directives: list[str] = Field(default=[], description="Raw scheduler directives, whole lines: the escape hatch.")

    if not TYPE_CHECKING:  # which would hide the fields from a type checker

        def __init__(self, **given: Any) -> None:
            super().__init__(**_with_secrets_named(given))

    def secret_values(self) -> list[str]:
        """The values of the secret environments, as far as they are known here."""
        values = [self.environments.get(name) for name in self.secret_environments]
        known = [value.get_value() if isinstance(value, dg.EnvVar) else value for value in values]
        return [value for value in known if value]

    def with_overrides(self, overrides: Mapping[str, Any] | None) -> ExecutionProfile:
        """This profile with some fields replaced (never merged). An unknown field is an error with a suggestion."""
        given = {name: value for name, value in (overrides or {}).items() if value is not None}
        known = [name for name in type(self).model_fields if name not in NOT_OVERRIDABLE]
        faults = [f"overrides has no key {name!r}: {did_you_mean(name, known)}" for name in given if name not in known]
        if faults:
            raise ConfigurationError(faults, advice=f"the keys are {', '.join(known)}.")
        if not given:
            return self
        current = {name: getattr(self, name) for name in type(self).model_fields}
        if "environments" in given:
            current["secret_environments"] = [n for n in self.secret_environments if n in given["environments"]]
        try:
            return ExecutionProfile(**{**current, **given})
        except ValidationError as error:
            raise ConfigurationError([_fault(part) for part in error.errors()]) from error


def _with_secrets_named(given: dict[str, Any]) -> dict[str, Any]:
    # Dagster puts the value in place of an EnvVar before the profile is used: their names are kept from now on.
    environments, named = given.get("environments"), given.get("secret_environments") or []
    if not isinstance(environments, Mapping) or not isinstance(named, list):
        return given
    secret = [name for name, value in environments.items() if isinstance(value, dg.EnvVar) and name not in named]
    return {**given, "secret_environments": [*named, *secret]} if secret else given


def _fault(part: Mapping[str, Any]) -> str:
    return f"overrides: {'.'.join(str(place) for place in part['loc'])}: {part['msg']} (given: {part['input']!r})"


def _optional(annotation: Any) -> Any:
    # Dagster's config knows Literal but not Optional[Literal]; the profile itself checks the word.
    return Optional[str if get_origin(annotation) is Literal else annotation]  # noqa: UP045 - a value, not an annotation


if TYPE_CHECKING:

    class ProfileOverrides(dg.Config):
        """Any field of `ExecutionProfile` but `resource_class`; what is left out stays as the profile has it."""
else:
    # The launchpad offers these fields; they are derived, so that the profile stays the one place that lists them.
    ProfileOverrides = create_model(
        "ProfileOverrides",
        __base__=dg.Config,
        __doc__="Fields of the execution profile to replace for this run.",
        **{
            name: (_optional(field.annotation), Field(None, description=field.description))
            for name, field in ExecutionProfile.model_fields.items()
            if name not in NOT_OVERRIDABLE
        },
    )
