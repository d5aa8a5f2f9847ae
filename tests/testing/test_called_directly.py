"""The function of an `hpc_asset` is called as any function: without a runner it says what it would run, with one it runs."""

from typing import Any

import dagster as dg
import pytest

from dagster_hpc import Command, HPCJobConfig, hpc_asset
from dagster_hpc.testing import Play, PlayedRunner


@hpc_asset(profile="small", outputs={"counts": "counts.json"})
def bit_counts(samples: str) -> Command:
    return Command("bitcount", args=["--input", samples])


@hpc_asset(profile="small", partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def per_molecule(context: dg.AssetExecutionContext) -> Command:
    return Command("bitcount", args=[context.partition_key])


class Thorough(HPCJobConfig):
    steps: int = 3


@hpc_asset(profile="small")
def configured(config: Thorough) -> Command:
    return Command("bitcount", args=[str(config.steps)])


def call(asset: Any, *arguments: Any, **named: Any) -> Any:
    """As a test of a user's calls it."""
    return asset(*arguments, **named)


def test_the_body_alone_says_what_it_would_run() -> None:
    assert call(bit_counts, "a.txt") == Command("bitcount", args=["--input", "a.txt"])
    assert call(bit_counts, samples="a.txt") == Command("bitcount", args=["--input", "a.txt"])


def test_the_body_takes_a_context_and_a_config() -> None:
    assert call(per_molecule, dg.build_asset_context(partition_key="b")).args == ["b"]
    assert call(configured, Thorough(steps=7)).args == ["7"]


def test_a_missing_argument_is_an_error_of_the_call() -> None:
    with pytest.raises((TypeError, dg.DagsterError), match="samples"):
        call(bit_counts)


def test_with_the_runner_it_runs_and_gives_the_materialization(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(outputs={"counts": "{}"}))
    result = call(bit_counts, dg.build_asset_context(), samples="a.txt", hpc=played_hpc)
    assert isinstance(result, dg.MaterializeResult)
    assert result.metadata is not None
    assert result.metadata["job_id"] is not None
    assert [job.args for job in played_hpc.submitted] == [("--input", "a.txt")]


def test_a_failed_job_is_a_failure_there_too(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(state="OOM"))
    with pytest.raises(dg.Failure, match="OOM"):
        call(bit_counts, dg.build_asset_context(), samples="a.txt", hpc=played_hpc)
