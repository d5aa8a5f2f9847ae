"""An asset is called like the function that it decorates; with a runner among the arguments it runs."""

from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import Command, HPCJobConfig, HPCJobRunner, JobResult, hpc_asset, hpc_asset_check, hpc_multi_asset


class CountConfig(HPCJobConfig):
    times: int = 1


@hpc_asset(profile="small", outputs={"n": "n.txt"})
def bit_counts(samples: str) -> Command:
    """How many bits are set."""
    return Command.shell("tr -d 0 | tr -d '\\n' | wc -c >n.txt", stdin=samples)


@bit_counts.collect
def ones(result: JobResult) -> int:
    return int(Path(result.outputs["n"]).read_text())


@hpc_asset(profile="small")
def told(context: dg.AssetExecutionContext, config: CountConfig) -> Command:
    return Command("count", args=[context.asset_key.to_user_string() if context.has_assets_def else "", str(config.times)])


@hpc_asset(profile="small", partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def part(context: dg.AssetExecutionContext) -> Command:
    return Command.shell('echo "this is $1"', args=[context.partition_key])


def test_without_a_runner_it_is_the_function_of_its_author() -> None:
    assert bit_counts("0110").stdin == "0110"
    assert bit_counts(samples="0110") == bit_counts("0110")


def test_a_context_or_a_config_that_the_function_does_not_ask_for_does_no_harm() -> None:
    assert bit_counts(dg.build_asset_context(), "0110").stdin == "0110"
    assert bit_counts(context=dg.build_asset_context(), samples="0110", config=HPCJobConfig()).stdin == "0110"


def test_the_function_sees_the_partition_that_the_context_was_built_with() -> None:
    assert part(dg.build_asset_context(partition_key="b")).args == ["b"]


def test_the_config_is_the_default_one_unless_it_is_given() -> None:
    @hpc_asset(profile="small")
    def counted(config: CountConfig) -> Command:
        return Command("count", args=[str(config.times)])

    assert (counted().args, counted(config=CountConfig(times=3)).args) == (["1"], ["3"])


def test_what_the_function_does_not_take_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="sample"):
        bit_counts(sample="0110")
    with pytest.raises(TypeError, match="takes 1 positional arguments, but 2 were given"):
        bit_counts("0110", "1")
    with pytest.raises(TypeError, match="several values for 'samples'"):
        bit_counts("0110", samples="1")


def test_with_a_runner_it_runs_and_returns_what_the_step_would(hpc: HPCJobRunner) -> None:
    result = bit_counts("0110", hpc=hpc)
    assert isinstance(result, dg.MaterializeResult)
    assert result.value == 2
    assert result.metadata is not None
    assert result.metadata["state"] == dg.MetadataValue.text("COMPLETED")


def test_the_runner_may_be_among_the_resources_of_the_context(hpc: HPCJobRunner) -> None:
    with dg.build_asset_context(partition_key="b", resources={"hpc": hpc}) as context:
        result = part(context)
    assert isinstance(result, dg.MaterializeResult)
    assert "this is b" in str(result.metadata and result.metadata["stdout_tail"])


def test_a_runner_and_a_config_go_together(hpc: HPCJobRunner) -> None:
    config = HPCJobConfig(overrides={"walltime": "00:01:07"})  # type: ignore[arg-type]
    result = bit_counts("0110", hpc=hpc, config=config)
    assert "#LOCAL --time=67\n" in result.metadata["script"].value


def test_a_failed_job_is_a_failure_here_too(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small")
    def broken() -> Command:
        return Command.shell("exit 3")

    with pytest.raises(dg.Failure, match="exit code 3"):
        broken(hpc=hpc)


def test_a_multi_asset_and_a_check_are_called_likewise(hpc: HPCJobRunner) -> None:
    @hpc_multi_asset(profile="small", specs=["one", "two"], outputs={"one": "1", "two": "2"})
    def both() -> Command:
        return Command.shell("echo a >1; echo b >2")

    @hpc_asset_check(asset="bit_counts", profile="small")
    def positive(bit_counts: int) -> Command:
        return Command.shell('test "$1" -gt 0', args=[str(bit_counts)])

    assert both() == Command.shell("echo a >1; echo b >2")
    assert [Path(each.value).read_text() for each in both(hpc=hpc)] == ["a\n", "b\n"]
    assert positive(2).args == ["2"]
    assert positive(2, hpc=hpc).passed
    assert not positive(0, hpc=hpc).passed


def test_the_step_of_another_asset_may_ask_it_for_its_command(hpc: HPCJobRunner) -> None:
    @dg.asset
    def other(context, hpc: HPCJobRunner) -> str:  # type: ignore[no-untyped-def]
        return str(bit_counts(context, "0110").stdin)

    assert dg.materialize([other], resources={"hpc": hpc}).output_for_node("other") == "0110"
    assert hpc.jobs() == []


def test_in_a_graph_it_composes_like_any_asset(hpc: HPCJobRunner) -> None:
    @dg.op
    def samples() -> str:
        return "0110"

    @dg.op
    def doubled(count: int) -> int:
        return 2 * count

    @dg.graph
    def composed() -> None:
        doubled(bit_counts(samples()))  # type: ignore[no-untyped-call]

    names = {node.name for node in composed.nodes}
    assert names == {"samples", "bit_counts", "doubled"}
