"""`hpc_asset`: a software-defined asset whose computation is a batch job."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from typing_extensions import Unpack

from dagster_hpc.assets.binding import bound, with_optional_outputs
from dagster_hpc.assets.collected import collected, refuse_failures
from dagster_hpc.assets.definition import HPCDefinition
from dagster_hpc.assets.detached import submit_detached
from dagster_hpc.assets.options import AssetOptions, refuse_bare, refuse_unknown, without_beta_warnings
from dagster_hpc.assets.partition_types import accept_ranges
from dagster_hpc.assets.partitions import covers_several, materialize_partitions
from dagster_hpc.assets.recipe import Launch, Recipe, compute_of
from dagster_hpc.engine.job import JobResult
from dagster_hpc.resources.command import Command, InputFile
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.retry import Resume, RetryRule
from dagster_hpc.resources.step import as_dagster_failure

Body = Callable[..., Command | Sequence[Command]]


class HPCAsset(HPCDefinition):
    """The definition that `hpc_asset` and `hpc_multi_asset` make; to Dagster an asset like any other.

    Called like the function that it decorates it returns the Command: so the function is tested. Called with a runner
    too, it runs the job.

    Example:
        @hpc_asset(profile="small", outputs={"n": "n.txt"})
        def bit_counts(samples: str) -> Command:
            return Command.shell("tr -d 0 | wc -c >n.txt", stdin=samples)

        @bit_counts.collect
        def ones(result: JobResult) -> int:
            return int(Path(result.outputs["n"]).read_text())

        assert isinstance(bit_counts, HPCAsset)
        assert bit_counts("0110").stdin == "0110"
    """


def hpc_asset(
    profile: str | ExecutionProfile = "",
    *,
    outputs: Mapping[str, str] | None = None,
    inputs: Mapping[str, InputFile] | None = None,
    overrides: Mapping[str, Any] | None = None,
    collect: Callable[..., Any] | None = None,
    timeout: float | None = None,
    runner: str = "hpc",
    max_running: int | None = None,
    detached: bool = False,
    retry: Sequence[RetryRule] | None = None,
    resume: Resume | None = None,
    **options: Unpack[AssetOptions],
) -> Callable[[Body], HPCAsset]:
    """Make an asset of a function that says WHAT to run.

    The function runs on the orchestrator and is cheap: from its upstream assets it makes a `Command`, or a list of them
    for one array job. They run on the target of the resource `runner`. The asset's value is a dict of its `outputs`,
    name → absolute path, or what `collect(result)` makes of the finished job; its metadata says what the job cost.

    Args:
        profile: The execution profile, or its name among the runner's; without it the runner's default. The launchpad may
            choose another or override its fields.
        outputs: Files that the command leaves in its directory, name → relative path. A missing one fails the job.
        inputs: Files placed in the job's directory, beside those of the `Command`.
        overrides: Fields of the profile that differ for this asset.
        collect: Turns the finished job into the asset's value, or into a `dg.MaterializeResult` with value, metadata,
            data version, tags and the answers of `check_specs`. Decorate a function with `@my_asset.collect` instead
            where it is longer than a line.
        timeout: Seconds after which the wait is given up; the job lives on, and the next attempt joins it.
        runner: Resource key of the `HPCJobRunner`.
        max_running: Of several commands, or of the partitions of one run, so many run at once.
        detached: The step submits and ends; a sensor (`build_hpc_job_sensor`) reports what becomes of the job.
        retry: After which ends the job is submitted again; else the runner's rules. Dagster sees a failure after them.
        resume: The job stops before its walltime ends and goes on in the same directory, until it is finished.
        **options: Anything that `dagster.asset` takes. `kinds` are added to "hpc" and the kind of the scheduler;
            `code_version` is by default a digest of the function, its collect, the profile and the job template;
            `check_specs` are answered by collect.

    Example:
        @hpc_asset(profile="mpi-16", outputs={"histogram": "hist.json"})
        def bit_histogram(samples: str) -> Command:
            return Command("bitcount", args=["--input", samples])
    """
    refuse_bare("hpc_asset", profile)
    refuse_unknown("hpc_asset", options, AssetOptions, inspect.signature(hpc_asset).parameters)
    checks = [spec.name for spec in options.get("check_specs") or ()]

    def decorate(function: Body) -> HPCAsset:
        recipe = Recipe.of(
            function, "hpc_asset", profile=profile, outputs=outputs, inputs=inputs, overrides=overrides, collect=collect,
            timeout=timeout, runner=runner, max_running=max_running, detached=detached, check_names=checks,
            retry=retry, resume=resume,
        )  # fmt: skip
        return defined(recipe, steps_of, options)

    return decorate


def defined(recipe: Recipe, steps: Callable[[Launch], Iterator[Any]], options: AssetOptions) -> HPCAsset:
    """The asset of this recipe, with what Dagster is told of it. `steps`: what a step of it does."""
    given: dict[str, Any] = {
        "description": inspect.getdoc(recipe.function),
        **options,
        "kinds": {"hpc", *(options.get("kinds") or ())},
    }
    compute = compute_of(recipe, steps)
    if options.get("partitions_def") is not None:
        accept_ranges(compute)
    with without_beta_warnings():
        made: dg.AssetsDefinition = dg.asset(**given)(compute)
        op = made.op if options.get("output_required") else with_optional_outputs(made.op)
        return bound(HPCAsset(**{**made.get_attributes_dict(), "node_def": op}))


def steps_of(launch: Launch) -> Iterator[Any]:
    """What a step of an `hpc_asset` does."""
    if launch.detached:
        yield from submit_detached(launch)
    elif covers_several(launch.context):
        yield from materialize_partitions(launch)
    else:
        yield from materialize(launch)


def materialize(launch: Launch) -> Iterator[dg.MaterializeResult[Any]]:
    """Run what the function says, wait, and materialize what came of it."""
    wanted = launch.wanted()
    results = run(launch, wanted.commands)
    yield collected(launch.recipe, results, single=wanted.single, context=launch.context).as_result()


def run(launch: Launch, commands: Sequence[Command]) -> list[JobResult]:
    """The results of these commands, all of which ended well: one job, or several as one array."""
    recipe, hpc, context = launch.recipe, launch.hpc, launch.context
    results = hpc.wait_all(launch.submit(commands), context=context, timeout=recipe.timeout)
    if len(results) > 1:
        return refuse_failures(results)
    with as_dagster_failure(context):
        return [launch.ended_well(results[0])]
