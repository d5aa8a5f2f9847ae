"""Retries in a `defs.yaml`: the rules of `RetryRule`, and jobs that go on where they stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import dagster as dg
from pydantic import BaseModel, create_model, model_validator
from pydantic.fields import FieldInfo

from dagster_hpc.resources.retry import Resume, RetryRule


class _Written(dg.Model):
    @model_validator(mode="before")
    @classmethod
    def _on_is_no_word(cls, given: Any) -> Any:
        if isinstance(given, dict) and True in given:
            raise ValueError("YAML takes the word `on` for a truth value: write `after`, as in {after: [TIMEOUT]}")
        return given


def _model(config: type[BaseModel], **renamed: str) -> type[BaseModel]:
    """The fields of a config, of which some have another name in YAML."""
    fields: dict[str, Any] = {
        renamed.get(name, name): (field.annotation, FieldInfo.merge_field_infos(field, description=field.description))
        for name, field in config.model_fields.items()
    }
    return create_model(config.__name__, __base__=_Written, __doc__=config.__doc__, **fields)


def _rule(model: BaseModel) -> RetryRule:
    said = model.model_dump(exclude_unset=True)
    return RetryRule(on=said.pop("after", []), **said)


def _rules(context: dg.ResolutionContext, given: Any) -> list[RetryRule] | None:
    if given is None or given == "usual":
        return given and RetryRule.usual()
    return [each if isinstance(each, RetryRule) else _rule(each) for each in given]


def _resume(context: dg.ResolutionContext, given: Any) -> Resume | None:
    return Resume(**given.model_dump(exclude_unset=True)) if isinstance(given, BaseModel) else given


if TYPE_CHECKING:
    Retry: TypeAlias = list[RetryRule] | None
    Resuming: TypeAlias = Resume | None
else:  # Dagster takes no type whose fields have bounds
    Retry = Annotated[
        Any,
        dg.Resolver(
            _rules,
            model_field_type=Literal["usual"] | list[_model(RetryRule, on="after")],
            description="After which ends a job is submitted again, and with what more; usual: what is right for most.",
            examples=["usual", [{"after": ["TIMEOUT"], "walltime": 2, "most_walltime": "24:00:00"}]],
        ),
    ]
    Resuming = Annotated[
        Any,
        dg.Resolver(
            _resume,
            model_field_type=_model(Resume),
            description="The job stops before its walltime ends and goes on in the same directory, until it is finished.",
            examples=[{"exit_code": 85}],
        ),
    ]
