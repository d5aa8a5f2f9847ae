"""Several partitions in one run: one array job, in which each partition is an element.

Each partition is told to Dagster as soon as its own job is over, whatever becomes of the others. The step fails in the
end if any did, and then only those run again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import dagster as dg

from dagster_hpc.assets.collected import collected
from dagster_hpc.assets.one_partition import OnePartition, check_given_out, given_out
from dagster_hpc.assets.partition_failures import Failures
from dagster_hpc.assets.recipe import Launch
from dagster_hpc.dagster_values import table
from dagster_hpc.engine.job import JobHandle, JobResult
from dagster_hpc.resources.command import Command
from dagster_hpc.resources.received import partitions_done
from dagster_hpc.resources.step import has_partitions, step_of

_NOTED_TOGETHER = 50  # by the ledger as received; until then Dagster's own log is looked into


def covers_several(context: dg.AssetExecutionContext) -> bool:
    """Whether this run is about more than one partition."""
    return context.has_partition_key_range and has_partitions(context) and len(context.partition_keys) > 1


def materialize_partitions(launch: Launch) -> Iterator[Any]:
    """All partitions of the run that are not there yet, as one array job."""
    context = launch.context
    if step_of(context) is None:
        raise dg.Failure("outside a run an hpc_asset is called for one partition: build_asset_context(partition_key=…)")
    failures, checks, results, there = Failures(), Checks(), list[JobResult](), list[JobResult]()
    completed = _as_completed(launch, shares_of(launch, failures))
    for share, result in completed:
        results.append(_without_texts(result))
        share.results[result.index or 0] = result
        if len(share.results) < len(share.commands):
            continue
        try:
            with failures.of(share.one.key):
                yield from _materialize(launch, share, checks, there)
        except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt) as interrupt:
            completed.throw(interrupt)  # the jobs that are still under way hear of it
        share.results.clear()
        if len(there) >= _NOTED_TOGETHER:
            launch.hpc.delivered(there)
            there.clear()
    launch.hpc.delivered(there)
    yield from checks.of_all_partitions()
    if failures:
        raise failures.as_failure(results, context.partition_keys)
    yield from given_out(context)
    for key in checks.seen:
        yield from check_given_out(context, key)


@dataclass
class Share:
    """One partition of the run: what is to be run for it, and what came of it so far."""

    one: OnePartition
    commands: Sequence[Command]
    single: bool = True  # the function returned a Command, and no list of them
    results: dict[int, JobResult] = field(default_factory=dict)


def shares_of(launch: Launch, failures: Failures) -> list[Share]:
    """What the user's function wants to be run for each partition that this step has not materialized yet."""
    context = launch.context
    done, keys, shares = partitions_done(context), context.partition_keys, list[Share]()
    if done:
        context.log.info(f"{len(done)} of {len(keys)} partitions are there already; the others are run")
    for key in keys:
        if str(key) in done:
            continue
        one = OnePartition(context, key)
        with failures.of(one.key):
            one.note_versions()
            wanted = launch.wanted(context=one.context, **one.upstream(launch.arguments))
            shares.append(Share(one, wanted.commands, wanted.single))
    return shares


def submit_partitions(launch: Launch, shares: Sequence[Share]) -> list[JobHandle]:
    """One array job of all of them; a handle for each command."""
    return launch.hpc.submit_all(
        [command for share in shares for command in share.commands],
        partition_keys=[share.one.key for share in shares for _ in share.commands],
        context=launch.context,
        max_running=launch.recipe.max_running,
        **launch.recipe.request(launch.config),
    )


def _as_completed(launch: Launch, shares: Sequence[Share]) -> Generator[tuple[Share, JobResult], None, None]:
    owners, context = [share for share in shares for _ in share.commands], launch.context
    handles = submit_partitions(launch, shares)
    results = launch.hpc.as_completed(handles, context=context, timeout=launch.recipe.timeout)
    for result in results:
        try:
            yield owners[result.index or 0], result
        except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt) as interrupt:
            cast(Generator[JobResult, None, None], results).throw(interrupt)


def _materialize(launch: Launch, share: Share, checks: Checks, there: list[JobResult]) -> Iterator[Any]:
    """Tell Dagster of this partition. `there`: the results that it has received so."""
    results = [replace(share.results[place], index=index) for index, place in enumerate(sorted(share.results))]
    for result in results:
        launch.ended_well(result)
    found = collected(launch.recipe, results, single=share.single)
    yield from share.one.materialized(found)
    there += map(_without_texts, results)
    for check in found.checks:
        yield from checks.take(share.one, check)


def _without_texts(result: JobResult) -> JobResult:
    """What is kept of a result until all others are there."""
    return replace(result, stdout_tail="", stderr_tail="", script="")


class Checks:
    """Results of asset checks, by partition. A check that has no partitions itself is told once, for all of them."""

    def __init__(self) -> None:
        self.seen: list[dg.AssetCheckKey] = []
        self._of_all: dict[dg.AssetCheckKey, dict[str, dg.AssetCheckEvaluation]] = {}

    def take(self, one: OnePartition, check: dg.AssetCheckResult) -> Iterator[dg.AssetCheckEvaluation]:
        """One result of one partition."""
        evaluation = one.evaluated(check)
        key = evaluation.asset_check_key
        if key not in self.seen:
            self.seen.append(key)
        if evaluation.partition is None:
            self._of_all.setdefault(key, {})[one.key] = evaluation
        else:
            yield evaluation

    def of_all_partitions(self) -> Iterator[dg.AssetCheckEvaluation]:
        """Those that have no partitions: they pass if they pass on each."""
        for key, by_partition in self._of_all.items():
            bad = {name: one for name, one in by_partition.items() if not one.passed}
            worst = max((bad or by_partition).values(), key=lambda one: one.severity is dg.AssetCheckSeverity.ERROR)
            rows = [
                {"partition": name, "passed": one.passed, "description": one.description or ""}
                for name, one in by_partition.items()
            ]
            yield dg.AssetCheckEvaluation(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=not bad,
                metadata={"partitions": table(rows)},
                severity=worst.severity,
                description=f"{len(bad)} of {len(by_partition)} partitions do not pass" if bad else None,
                blocking=worst.blocking,
            )


def refuse_range(context: dg.AssetExecutionContext) -> None:
    """One run of such an asset is one partition."""
    if covers_several(context):
        raise dg.Failure(
            f"this run covers {len(context.partition_keys)} partitions, and this asset makes one at a time: "
            "use BackfillPolicy.multi_run(), which is the default",
            allow_retries=False,
        )
