"""What is wrong with a `defs.yaml`, all at once and each with its line, before Dagster has any of its assets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from dagster_hpc.components.body import command_of
from dagster_hpc.components.job import Job
from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. `path`: where it stands, from the attributes on."""

    path: Sequence[str | int]
    message: str

    def located(self, context: dg.ResolutionContext) -> str:
        """With file and line, as far as they are known."""
        positions = context.source_position_tree
        if positions is None:
            return self.message
        return f"{positions.lookup_closest_and_path(['attributes', *self.path], None)[0]}: {self.message}"


def faults_of(jobs: Sequence[Job], folder: Path) -> Iterator[Fault]:
    """What is wrong with these jobs, whatever runs them."""
    keys, seen = {job.asset: job for job in jobs}, set[dg.AssetKey]()
    for index, job in enumerate(jobs):
        name = repr(job.asset.to_user_string())
        if job.asset in seen:
            yield Fault(["jobs", index, "asset"], f"two jobs make the asset {name}")
        seen.add(job.asset)
        if (job.script is None) == (job.executable is None):
            yield Fault(["jobs", index], f"the job of {name} has either a script or an executable")
        if job.script and "{{" in job.script and ("partition_key" in job.script or "deps" in job.script):
            yield Fault(
                ["jobs", index, "script"],
                'a script is no template: write args: ["{{ … }}"], and "$1" in the script',
            )
        yield from _faults_of_arguments(job, index, keys)
        yield from _faults_of_readings(job, index)
        for number, file in enumerate(job.files):
            if not (folder / file).is_file():
                yield Fault(["jobs", index, "files", number], f"there is no file {file!r} in {folder}")


def _faults_of_arguments(job: Job, index: int, jobs: dict[dg.AssetKey, Job]) -> Iterator[Fault]:
    for number, argument in enumerate(job.args):
        path: list[str | int] = ["jobs", index, "args", number]
        for reference in argument.references:
            if reference.asset is None and job.partitions_def is None:
                yield Fault(path, f"{reference}: the job has no partitions_def")
            if reference.asset is None or reference.asset not in jobs:
                continue  # an asset of somebody else: what its value has is known when it is there
            known = list(jobs[reference.asset].outputs)
            if reference.asset == job.asset:
                yield Fault(path, f"{reference} is the asset of this very job")
            elif reference.output not in known:
                hint = did_you_mean(reference.output or "", known) if known else "that job names no outputs"
                yield Fault(path, f"{reference} names no output of that job: {hint}")


def _faults_of_readings(job: Job, index: int) -> Iterator[Fault]:
    for name, reading in job.values.items():
        try:
            reading.collector(name)
        except ConfigurationError as error:
            yield from (Fault(["jobs", index, "values", name], fault) for fault in error.faults)
    shown = [name for name, reading in job.values.items() if not (reading.table or reading.plot)]
    for name, check in job.checks.items():
        value = check.value or name
        if value not in shown:
            hint = did_you_mean(value, shown) if shown else "the job has no values"
            yield Fault(["jobs", index, "checks", name], f"there is no value {value!r} to check: {hint}")


def faults_of_requests(
    jobs: Sequence[Job], folder: Path, runner: HPCJobRunner, default: str | ExecutionProfile
) -> Iterator[Fault]:
    """What the target would say to these jobs: it is asked for the scripts that it would submit."""
    for index, job in enumerate(jobs):
        try:
            runner.render(
                command_of(job, folder, args=[]),
                profile=job.profile or default,
                overrides=job.overrides,
                outputs=job.outputs,
                resume=job.resume,
            )
        except ConfigurationError as error:
            yield from (Fault(["jobs", index], fault) for fault in error.faults)


def refuse(faults: Sequence[Fault], context: dg.ResolutionContext) -> None:
    """One error for all of them."""
    if faults:
        raise ConfigurationError([fault.located(context) for fault in faults])


@contextmanager
def errors_at(path: Sequence[str | int], context: dg.ResolutionContext) -> Iterator[None]:
    """The faults of an error inside the block are told as standing there."""
    try:
        yield
    except ConfigurationError as error:
        faults = [Fault(path, fault).located(context) for fault in error.faults]
        raise ConfigurationError(faults, advice=error.advice) from error
