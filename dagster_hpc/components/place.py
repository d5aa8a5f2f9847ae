"""WHERE and HOW in a `defs.yaml`: targets and profiles, with the fields and descriptions that their classes have."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, TypeAlias

import dagster as dg
from pydantic import BaseModel, Field, ValidationError, create_model

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.resources.profile import NOT_OVERRIDABLE, ExecutionProfile
from dagster_hpc.resources.targets import KINDS, target_class
from dagster_hpc.resources.targets.base import HPCTarget


def _fields(resource: type[BaseModel], leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Each field of a resource as one that may be left out."""
    return {
        name: (Optional[field.annotation], Field(None, description=field.description))  # noqa: UP045 - a value
        for name, field in resource.model_fields.items()
        if name not in leave_out
    }


def _target_model(kind: str) -> type[BaseModel]:
    resource = target_class(kind)
    fields = {"kind": (Literal[kind], Field(description="The kind of the target.")), **_fields(resource)}
    made: type[BaseModel] = create_model(resource.__name__, __base__=dg.Model, **fields)
    return made


def _profile_model(name: str, leave_out: tuple[str, ...] = ()) -> type[BaseModel]:
    fields = _fields(ExecutionProfile, leave_out)
    # YAML reads 10:00:00 without quotes as a number in base 60, which is the seconds that were meant.
    walltime = (str | int | None, Field(None, description=ExecutionProfile.model_fields["walltime"].description))
    return create_model(name, __base__=dg.Model, **{**fields, "walltime": walltime})


def filled_in(context: dg.ResolutionContext, model: BaseModel) -> dict[str, Any]:
    """The fields that somebody has written, with their templates filled in and all else as it stands."""
    said = model.model_dump(exclude_unset=True, exclude_none=True)
    return {name: _filled(context.at_path(name), value) for name, value in said.items()}


def _filled(context: dg.ResolutionContext, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(context.at_path(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(context.at_path(index), each) for index, each in enumerate(value)]
    return context.resolve_value(value) if isinstance(value, str) and "{{" in value else value


def _overrides(context: dg.ResolutionContext, model: Any) -> dict[str, Any]:
    said = filled_in(context, model) if isinstance(model, BaseModel) else dict(model or {})
    return {**said, "walltime": str(said["walltime"])} if "walltime" in said else said


def _profile(context: dg.ResolutionContext, given: Any) -> str | ExecutionProfile | None:
    if given is None or isinstance(given, str | ExecutionProfile):
        return given
    try:
        return ExecutionProfile(**_overrides(context, given))
    except ValidationError as error:
        raise _faults("profile", error) from error


def _target(context: dg.ResolutionContext, given: Any) -> str | HPCTarget | None:
    if given is None or isinstance(given, str | HPCTarget):
        return given
    said = filled_in(context, given)
    try:
        return target_class(said.pop("kind"))(**said)
    except ValidationError as error:
        raise _faults("target", error) from error


def _faults(name: str, error: ValidationError) -> ConfigurationError:
    return ConfigurationError(
        [f"{name}: {'.'.join(map(str, part['loc']))}: {part['msg']} (given: {part['input']!r})" for part in error.errors()]
    )


if TYPE_CHECKING:
    Target: TypeAlias = str | HPCTarget | None
    Profile: TypeAlias = str | ExecutionProfile | None
    Overrides: TypeAlias = Mapping[str, Any]
else:  # Dagster takes no type whose fields have bounds; what is written is checked by the models, and built by ours
    Target = Annotated[
        Any,
        dg.Resolver(
            _target,
            model_field_type=Annotated[reduce(or_, map(_target_model, KINDS)), Field(discriminator="kind")] | str,
            description="Where the jobs run: the kind of the batch system and what it needs to know; or a name in the site "
            "file. Left out: the project's resource `runner`.",
            examples=[{"kind": "slurm", "queue_cpu": "regular", "project_cpu": "ab12"}, {"kind": "local"}],
        ),
    ]
    Profile = Annotated[
        Any,
        dg.Resolver(
            _profile,
            model_field_type=_profile_model("Profile") | str,
            description="How a job runs: nodes, ranks, threads, walltime, modules; or the name of a profile of the runner.",
            examples=[{"num_nodes": 2, "mpiprocs": 8, "walltime": "01:00:00", "launcher": "srun"}, "mpi-16"],
        ),
    ]
    Overrides = Annotated[
        Any,
        dg.Resolver(
            _overrides,
            model_field_type=_profile_model("ProfileOverrides", NOT_OVERRIDABLE),
            description="Fields of the profile that differ for this job.",
            examples=[{"walltime": "02:00:00"}],
        ),
    ]
