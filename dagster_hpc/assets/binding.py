"""What a definition shows once its runner is known: the scheduler's kind, a code version, the names of the profiles."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from types import CodeType
from typing import Any, TypeVar

import dagster as dg
from dagster._config.pythonic_config.resource import PartialResource
from dagster._core.definitions.definition_config_schema import (
    IDefinitionConfigSchema,
    convert_user_facing_definition_config_schema,
)
from pydantic import ValidationError

from dagster_hpc.assets.options import without_beta_warnings
from dagster_hpc.assets.recipe import Recipe, recipe_of
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.script import template_text
from dagster_hpc.resources.env_vars import with_env_values
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.targets.base import HPCTarget

Definition = TypeVar("Definition", bound=dg.AssetsDefinition)


def bound(definition: Definition) -> Definition:
    """The definition with what its runner tells. Where the runner is configured at launch, nothing is known of it yet."""
    recipe = recipe_of(definition)
    runner = runner_of(definition.resource_defs.get(recipe.runner)) if recipe else None
    if recipe is None or runner is None:
        return definition
    op = with_profile_names(definition.op, {name: runner.profiles[name].description for name in sorted(runner.profiles)})
    specs, target = list(definition.specs), known_target(runner)
    if target is not None:
        kind, version = target.scheduler.system, code_version(recipe, runner, target)
        specs = [
            spec.replace_attributes(kinds={*spec.kinds, kind}, code_version=spec.code_version or version)
            for spec in specs
        ]
    with without_beta_warnings():
        return type(definition)(**{**definition.get_attributes_dict(), "specs": specs, "node_def": op})


def runner_of(resource: dg.ResourceDefinition | None) -> HPCJobRunner | None:
    """The runner behind a resource definition; None where it has no values yet, or is something else."""
    runner = getattr(resource and resource.resource_fn, "__self__", None)
    return runner if isinstance(runner, HPCJobRunner) else None


def known_target(runner: HPCJobRunner) -> HPCTarget | None:
    """The runner's target; one that is configured at launch, as it is when nobody changes it there.

    None where it is known only where runs are: a variable is not set here, or a field has no value before.
    """
    target: Any = runner.target
    try:
        if isinstance(target, PartialResource):
            target = target.resource_cls(**target.data)
        target = with_env_values(target)
        return target if target.scheduler else None
    except (ConfigurationError, ValidationError):  # the run will say what is wrong with it
        return None


def _work_of(profile: ExecutionProfile) -> dict[str, Any]:
    """Its fields but those that say who gets a mail."""
    return {name: value for name, value in shown_fields(profile).items() if not name.startswith("mail_")}


def code_version(recipe: Recipe, runner: HPCJobRunner, target: HPCTarget) -> str:
    """Changes with the command (the function's text), with how it is read and run, and with the job template."""
    named = recipe.profile or runner.default_profile
    profile = runner.profiles.get(named) if isinstance(named, str) else named
    how = {
        "function": source_of(recipe.function),
        "collect": source_of(recipe.collect) if recipe.collect else None,
        "inputs": {name: str(source) for name, source in (recipe.inputs or {}).items()},
        "outputs": dict(recipe.outputs or {}),
        "overrides": dict(recipe.overrides or {}),
        "profile": _work_of(profile) if profile else named,
        "template": template_text(target.scheduler.template, target.template and os.path.expanduser(target.template)),
    }
    return sha256(json.dumps(how, sort_keys=True, default=repr).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def source_of(function: Callable[..., Any]) -> str:
    """Its text; where that is not to be had, as at a prompt, its bytecode. A function that is made tells from what."""
    if hasattr(function, "made_from"):
        return repr(function.made_from)
    plain = inspect.unwrap(getattr(function, "func", function))  # of a functools.partial
    try:
        return inspect.getsource(plain)
    except (OSError, TypeError):
        code = getattr(plain, "__code__", None)
        return _bytecode(code) if isinstance(code, CodeType) else getattr(plain, "__qualname__", type(plain).__qualname__)


def _bytecode(code: CodeType) -> str:
    constants = [_bytecode(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return "\n".join([code.co_code.hex(), *code.co_names, *constants])


def shown_fields(profile: ExecutionProfile) -> dict[str, Any]:
    """The fields of a profile that a job feels. A variable of the environment is named; no secret is shown."""
    fields = {name: getattr(profile, name) for name in type(profile).model_fields if name != "description"}
    environments: Mapping[str, str] = fields["environments"]
    hidden = [name for name in profile.secret_environments if not isinstance(environments.get(name), dg.EnvVar)]
    fields["environments"] = {name: "" if name in hidden else value for name, value in environments.items()}
    return {name: _named(value) for name, value in fields.items()}


def _named(value: Any) -> Any:
    if isinstance(value, dg.EnvVar):
        return f"EnvVar({value.env_var_name})"
    if isinstance(value, Mapping):
        return {key: _named(each) for key, each in value.items()}
    return [_named(each) for each in value] if isinstance(value, list) else value


def with_profile_names(op: dg.OpDefinition, profiles: Mapping[str, str]) -> dg.OpDefinition:
    """The same op, whose launchpad offers these profiles, with their descriptions, where a profile is to be named."""
    given = op.config_schema.as_field()
    fields = dict(getattr(given.config_type, "fields", {}))
    if not profiles or "profile" not in fields:
        return op
    before = fields["profile"]
    # Dagster's message about a wrong value shows the name of the type and no choices, unless they are the name.
    values = [dg.EnumValue(name, description=said or None) for name, said in profiles.items()]
    choices = dg.Enum(f"HPCProfile({', '.join(profiles)})", values)
    told = [f"{name}: {said}" for name, said in profiles.items() if said]
    fields["profile"] = dg.Field(
        dg.Noneable(choices),
        default_value=before.default_value if before.default_provided else None,
        description="\n".join([before.description or "", *told]).strip(),
    )
    shape = dg.Shape(fields)  # type: ignore[no-untyped-call]
    schema = convert_user_facing_definition_config_schema(dg.Field(shape, description=given.description))
    return _Bound(op, schema)


class _Bound(dg.OpDefinition):
    """An op with another launchpad. To Dagster it is the op that it was: a schedule may target the asset as it was made."""

    def __init__(self, op: dg.OpDefinition, config_schema: IDefinitionConfigSchema) -> None:
        super().__init__(
            compute_fn=op.compute_fn,
            name=op.name,
            ins={each.name: dg.In.from_definition(each) for each in op.input_defs},
            outs={each.name: dg.Out.from_definition(each) for each in op.output_defs},
            description=op.description,
            config_schema=config_schema,
            required_resource_keys=op.required_resource_keys,
            tags=op.tags,
            retry_policy=op.retry_policy,
            code_version=op._version,  # its property is deprecated, and has no successor yet
            pool=op.pool,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dg.OpDefinition) and (self.name, self.compute_fn) == (other.name, other.compute_fn)

    def __hash__(self) -> int:
        return hash(self.name)


def with_optional_outputs(op: dg.OpDefinition) -> dg.OpDefinition:
    """The same op, in which no output has to come: a detached step ends without its value and the answers of its checks."""
    outs = {out.name: dg.Out.from_definition(out)._replace(is_required=False) for out in op.output_defs}
    return op.with_replaced_properties(op.name, outs=outs)
