"""Types of upstream values where a run may cover several partitions.

Dagster loads the upstream values of such a run together, as a dict, partition → value, and checks the type of that. The
function is called for each partition and says the type of one. Either is fine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from inspect import Parameter
from typing import Any

import dagster as dg
from dagster._core.definitions.resource_annotation import get_resource_args
from dagster._core.types.dagster_type import resolve_dagster_type


def accept_ranges(compute: Callable[..., Any]) -> None:
    """Let the upstream values that this function takes come by partition, too."""
    shown: Mapping[str, Parameter] = compute.__signature__.parameters  # type: ignore[attr-defined]
    ours = {"context", "config", *(each.name for each in get_resource_args(compute))}
    types = {
        name: _or_by_partition(parameter.annotation)
        for name, parameter in shown.items()
        if name not in ours and parameter.annotation not in (Parameter.empty, Any)
    }
    parameters = [each.replace(annotation=types.get(each.name, each.annotation)) for each in shown.values()]
    compute.__signature__ = compute.__signature__.replace(parameters=parameters)  # type: ignore[attr-defined]
    compute.__annotations__ |= types


def _or_by_partition(annotation: Any) -> dg.DagsterType:
    return _accepting(resolve_dagster_type(annotation))


@cache  # Dagster wants one object for each name of a type
def _accepting(one: dg.DagsterType) -> dg.DagsterType:
    def check(context: dg.TypeCheckContext, value: Any) -> dg.TypeCheck:
        checked = one.type_check(context, value)
        if checked.success or not isinstance(value, dict):
            return checked
        each = (one.type_check(context, of_partition) for of_partition in value.values())
        return next((bad for bad in each if not bad.success), dg.TypeCheck(success=True))

    return dg.DagsterType(
        type_check_fn=check,
        name=f"{one.display_name} of a partition",
        description=f"{one.display_name}, or a dict of it by partition where a run covers several.",
        typing_type=one.typing_type,
    )
