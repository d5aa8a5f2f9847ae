"""One job of a `defs.yaml`, and the asset that it makes."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import dagster as dg

from dagster_hpc.components.automation import Condition
from dagster_hpc.components.partitions import Partitions
from dagster_hpc.components.place import Overrides, Profile
from dagster_hpc.components.placeholders import Argument, argument
from dagster_hpc.components.readings import Check, Reading
from dagster_hpc.components.repeating import Resuming, Retry

_told = dg.Resolver.default


def _as_written(context: dg.ResolutionContext, given: Any) -> Any:
    return given


def _arguments(context: dg.ResolutionContext, given: Sequence[str]) -> list[Argument]:
    return [argument(context.at_path(index), text) for index, text in enumerate(given)]


@dataclass(frozen=True)
class Job(dg.Resolvable):
    """A batch job: what runs, and the asset that it makes."""

    asset: Annotated[
        dg.ResolvedAssetKey,
        _told(description="Key of the asset that the job makes.", examples=["energies", "lih/energies"]),
    ]
    script: Annotated[
        str | None,
        dg.Resolver(
            _as_written,
            model_field_type=str,
            inject_before_resolve=False,
            description="A bash script, which stops at the first command that fails. `args` are its $1, $2, …; it is no "
            "template: values reach it as arguments.",
            examples=["./simulate --steps 1000 >energies.csv\n"],
        ),
    ] = None
    executable: Annotated[
        str | None,
        _told(
            description="Instead of a script: a program, by its path or by its name in the target's executable_map.",
            examples=["/apps/bitcount", "bitcount"],
        ),
    ] = None
    args: Annotated[
        list[Argument],
        dg.Resolver(
            _arguments,
            model_field_type=list[str],
            inject_before_resolve=False,
            description="Arguments, each of which arrives as it is written. {{ partition_key }} and "
            "{{ deps.other_asset.output }} in them are filled in when the job is made.",
            examples=[["--input", "{{ deps.prepare.table }}", "--day={{ partition_key }}"]],
        ),
    ] = field(default_factory=list)
    files: Annotated[
        list[str],
        _told(
            description="Files beside the defs.yaml that the job needs: they are placed in its directory.",
            examples=[["run.inp", "simulation.sh"]],
        ),
    ] = field(default_factory=list)
    outputs: Annotated[
        dict[str, str],
        _told(
            description="Files that the job leaves in its directory: name → relative path. A missing one fails the job.",
            examples=[{"table": "energies.csv"}],
        ),
    ] = field(default_factory=dict)
    values: Annotated[
        dict[str, Reading],
        _told(
            description="What is read out of the files of the job, by its name. It becomes metadata; Dagster plots numbers.",
            examples=[{"energy": {"file": "result.json", "path": "$.energy"}, "steps": {"pattern": "(\\d+) steps"}}],
        ),
    ] = field(default_factory=dict)
    checks: Annotated[
        dict[str, Check],
        _told(
            description="Asset checks, by their names: what the value of that name has to be.",
            examples=[{"converged": {"equals": True}, "accurate": {"value": "residual", "less_than": 1e-6}}],
        ),
    ] = field(default_factory=dict)
    deps: Annotated[
        list[dg.ResolvedAssetKey],
        _told(
            description="Upstream assets that only have to be there before. One that `args` name need not stand here.",
            examples=[["raw_samples"]],
        ),
    ] = field(default_factory=list)
    profile: Profile = None
    overrides: Overrides = field(default_factory=dict)
    retry: Retry = None
    resume: Resuming = None
    detached: Annotated[
        bool,
        _told(description="No process waits for the job: the step submits and ends, and a sensor reports the job."),
    ] = False
    timeout: Annotated[
        float | None, _told(description="Seconds after which the wait is given up; the job lives on.")
    ] = None
    max_running: Annotated[
        int | None, _told(description="Of the partitions of one run, so many run at once.")
    ] = None
    partitions_def: Partitions = None
    automation_condition: Condition = None
    description: Annotated[str | None, _told(description="What the asset is, as its page shows it.")] = None
    group_name: Annotated[str | None, _told(description="Group of the asset.", examples=["chemistry"])] = None
    owners: Annotated[list[str], _told(description="Who is to be asked.", examples=[["team:chemistry"]])] = field(
        default_factory=list
    )
    tags: Annotated[dict[str, str], _told(description="Tags for filters.", examples=[{"tier": "daily"}])] = field(
        default_factory=dict
    )
    kinds: Annotated[list[str], _told(description="Kinds beside hpc and that of the scheduler.", examples=[["csv"]])] = (
        field(default_factory=list)
    )
    metadata: Annotated[Mapping[str, Any], _told(description="Metadata of the asset itself.")] = field(
        default_factory=dict
    )
    pool: Annotated[str | None, _told(description="Pool that limits how many such assets are made at once.")] = None

    @property
    def upstream(self) -> list[dg.AssetKey]:
        """The assets whose values its arguments name, each once."""
        named = [reference.asset for each in self.args for reference in each.references if reference.asset]
        return list(dict.fromkeys(named))
