"""What Dagster's own decorators take, with types, so that an editor completes it and a mistyped one is an error."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any

import dagster as dg
from typing_extensions import TypedDict

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean

KeyWords = dg.AssetKey | str | Sequence[str]
AnyDep = KeyWords | dg.AssetSpec | dg.AssetsDefinition | dg.SourceAsset | dg.AssetDep
AnyCondition = dg.AutomationCondition[Any]


class AssetOptions(TypedDict, total=False):
    """The options that `hpc_asset` hands on to `dagster.asset`: all that it takes.

    `config_schema` is not among them: the launchpad's fields are those of an `HPCJobConfig`, which you may subclass.

    Example:
        options: AssetOptions = {"group_name": "counts", "owners": ["team:chemistry"]}
    """

    name: str | None
    key: KeyWords | None
    key_prefix: str | Sequence[str] | None
    ins: Mapping[str, dg.AssetIn] | None
    deps: Iterable[AnyDep] | None
    metadata: Mapping[str, Any] | None
    tags: Mapping[str, str] | None
    description: str | None
    required_resource_keys: AbstractSet[str] | None
    resource_defs: Mapping[str, object] | None
    hooks: AbstractSet[dg.HookDefinition] | None
    io_manager_def: object | None
    io_manager_key: str | None
    dagster_type: dg.DagsterType | None
    partitions_def: dg.PartitionsDefinition[Any] | None
    op_tags: Mapping[str, Any] | None
    group_name: str | None
    output_required: bool
    automation_condition: AnyCondition | None
    freshness_policy: dg.FreshnessPolicy | None
    backfill_policy: dg.BackfillPolicy | None
    retry_policy: dg.RetryPolicy | None
    code_version: str | None
    check_specs: Sequence[dg.AssetCheckSpec] | None
    owners: Sequence[str] | None
    kinds: AbstractSet[str] | None
    pool: str | None
    is_virtual: bool


class MultiAssetOptions(TypedDict, total=False):
    """The options that `hpc_multi_asset` hands on to `dagster.multi_asset`.

    Example:
        options: MultiAssetOptions = {"group_name": "counts", "can_subset": True}
    """

    name: str | None
    ins: Mapping[str, dg.AssetIn] | None
    deps: Iterable[AnyDep] | None
    description: str | None
    required_resource_keys: AbstractSet[str] | None
    resource_defs: Mapping[str, object] | None
    hooks: AbstractSet[dg.HookDefinition] | None
    partitions_def: dg.PartitionsDefinition[Any] | None
    backfill_policy: dg.BackfillPolicy | None
    op_tags: Mapping[str, Any] | None
    can_subset: bool
    group_name: str | None
    retry_policy: dg.RetryPolicy | None
    code_version: str | None
    check_specs: Sequence[dg.AssetCheckSpec] | None
    pool: str | None


class CheckOptions(TypedDict, total=False):
    """The options that `hpc_asset_check` hands on to `dagster.asset_check`.

    Example:
        options: CheckOptions = {"blocking": True, "pool": "cluster"}
    """

    name: str | None
    description: str | None
    blocking: bool
    additional_ins: Mapping[str, dg.AssetIn] | None
    additional_deps: Iterable[AnyDep] | None
    required_resource_keys: set[str] | None
    resource_defs: Mapping[str, object] | None
    op_tags: Mapping[str, Any] | None
    retry_policy: dg.RetryPolicy | None
    metadata: Mapping[str, Any] | None
    automation_condition: AnyCondition | None
    pool: str | None
    partitions_def: dg.PartitionsDefinition[Any] | None


def refuse_unknown(decorator: str, given: Mapping[str, Any], known: type, own: Iterable[str]) -> None:
    """An option that the decorator does not have is an error where the asset is defined."""
    names = [*own, *known.__annotations__]
    faults = [f"{decorator} has no option {name!r}: {did_you_mean(name, names)}" for name in given if name not in names]
    if "config_schema" in given:
        faults = [f"{decorator} takes no config_schema: its config is an HPCJobConfig, which you may subclass"]
    if faults:
        raise ConfigurationError(faults, advice=f"the options are {', '.join(sorted(names))}.")


def refuse_bare(decorator: str, profile: object) -> None:
    """A decorator that is written without its parentheses takes the function for its profile."""
    if inspect.isfunction(profile):
        raise ConfigurationError(
            f"{decorator} takes the name of a profile first", advice=f"write `@{decorator}()`, or name one."
        )


@contextmanager
def without_beta_warnings() -> Iterator[None]:
    """Dagster warns of each option that is in beta at every definition; the author has chosen it knowingly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        yield
