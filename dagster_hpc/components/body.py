"""The function behind a job: what `hpc_asset` would decorate, had somebody written it in Python."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_hpc.assets.asset import Body
from dagster_hpc.components.job import Job
from dagster_hpc.components.placeholders import Reference
from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.resources.command import Command

_Kind = inspect.Parameter.POSITIONAL_OR_KEYWORD


def parameters_of(job: Job) -> dict[dg.AssetKey, str]:
    """The parameter by which the value of each upstream asset comes."""
    return {key: f"upstream_{number}" for number, key in enumerate(job.upstream, start=1)}


def ins_of(job: Job) -> dict[str, dg.AssetIn]:
    """The upstream assets whose values it is given. One without partitions gathers those that are there."""
    metadata = {"allow_missing_partitions": True} if job.partitions_def is None else {}
    return {name: dg.AssetIn(key, metadata=metadata) for key, name in parameters_of(job).items()}


def body_of(job: Job, folder: Path) -> Body:
    """The function that says what to run. `folder`: where the files of the job lie."""
    parameters = parameters_of(job)

    def body(context: dg.AssetExecutionContext, **upstream: Any) -> Command:
        values = {key: Value.of(context, name, upstream[name]) for key, name in parameters.items()}
        return command_of(job, folder, _words(job, values, context))

    body.__name__ = "__".join(job.asset.path)
    body.__doc__ = job.description
    taken = [inspect.Parameter(name, _Kind) for name in ("context", *parameters.values())]
    body.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    files = [_digest(folder / name) for name in job.files]
    body.made_from = (job.script, job.executable, job.args, files)  # type: ignore[attr-defined]
    return body


def command_of(job: Job, folder: Path, args: Sequence[str]) -> Command:
    """What runs, once its arguments are known."""
    more: dict[str, Any] = {"args": args, "name": job.asset.path[-1], "inputs": files_of(job, folder)}
    if job.script is not None:
        return Command.shell(job.script, **more)
    return Command(job.executable or "", **more)


def files_of(job: Job, folder: Path) -> dict[str, Path]:
    """The files that are placed in the job's directory, by their names there."""
    return {Path(name).name: folder / name for name in job.files}


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Value:
    """What an upstream asset has to say: one value, or one for each of its partitions."""

    of_all: Sequence[Any]
    single: bool

    @classmethod
    def of(cls, context: dg.AssetExecutionContext, parameter: str, value: Any) -> Value:
        """Dagster hands over a value for each partition as a dict, where this step takes more than one."""
        step = context.get_step_execution_context()
        if not step.has_asset_partitions_for_input(parameter):
            return cls([value], single=True)
        keys = [str(key) for key in context.asset_partition_keys_for_input(parameter)]
        if len(keys) < 2 or not (isinstance(value, Mapping) and set(value) <= set(keys)):
            return cls([value], single=True)
        return cls([value[key] for key in keys if key in value], single=False)

    def words(self, reference: Reference) -> str | list[str]:
        """As an argument, or as one for each partition."""
        said = [_word(reference, value) for value in self.of_all]
        return said[0] if self.single else said


def _words(job: Job, values: Mapping[dg.AssetKey, Value], context: dg.AssetExecutionContext) -> list[str]:
    def value_of(reference: Reference) -> str | list[str]:
        return values[reference.asset].words(reference) if reference.asset else context.partition_key

    return [word for each in job.args for word in each.words(value_of)]


def _word(reference: Reference, value: Any) -> str:
    """A path, a text or a number: what can be an argument."""
    if reference.output is not None:
        if not isinstance(value, Mapping):
            raise _failure(reference, f"the value of the asset is of type {type(value).__name__}, which has no outputs")
        if reference.output not in value:
            raise _failure(reference, f"it has no such output: {did_you_mean(reference.output, [*map(str, value)])}")
        value = value[reference.output]
    if not isinstance(value, str | int | float | Path):
        names = f", which has {', '.join(map(str, value))}" if isinstance(value, Mapping) else ""
        raise _failure(reference, f"its value is of type {type(value).__name__}{names}, and is no argument")
    return str(value)


def _failure(reference: Reference, why: str) -> dg.Failure:
    return dg.Failure(f"the argument {reference} cannot be filled in: {why}", allow_retries=False)
