"""A run of several partitions is one array job, and each partition lives and fails alone."""

from pathlib import Path
from typing import Any

import dagster as dg

from dagster_hpc import Command, HPCJobRunner, JobResult, JobState, hpc_asset
from dagster_hpc.assets.recipe import recipe_of
from tests.partitions.runs import arrays, failure_of, materializations, metadata_of, run_range

LETTERS = dg.StaticPartitionsDefinition(list("abcde"))
ONE_RUN = dg.BackfillPolicy.single_run()


def read(result: JobResult) -> str:
    return Path(result.outputs["out"]).read_text().strip()


def letters(tmp_path: Path, **options: Any) -> dg.AssetsDefinition:
    """Each partition writes its key, and leaves a trace that it ran; it fails as long as a file of its name is there."""

    @hpc_asset(
        profile="small", outputs={"out": "out.txt"}, collect=read, partitions_def=LETTERS, backfill_policy=ONE_RUN,
        **options,
    )  # fmt: skip
    def letter(context: dg.AssetExecutionContext) -> Command:
        script = f'echo x >>{tmp_path}/ran.$1; echo "value of $1" >out.txt; [ ! -e {tmp_path}/bad.$1 ] || exit 3'
        return Command.shell(script, args=[context.partition_key])

    return letter


def ran(tmp_path: Path) -> dict[str, int]:
    return {key: len(path.read_text().split()) for key in "abcde" if (path := tmp_path / f"ran.{key}").exists()}


def test_a_range_is_one_array_job_and_a_materialization_of_each_partition(
    hpc: HPCJobRunner, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    result = run_range([letters(tmp_path)], hpc, instance, "b", "d")
    assert result.success
    assert arrays(hpc) == [["b", "c", "d"]]
    made = materializations(instance, "letter")
    assert {key: len(each) for key, each in made.items()} == {"b": 1, "c": 1, "d": 1}
    rows = {row.partition_key: row for row in hpc.jobs()}
    for key, (one,) in made.items():
        metadata = metadata_of(one)
        assert metadata["job_id"] == rows[key].job_id
        assert metadata["state"] == "COMPLETED"
        assert Path(metadata["path"]).name == key  # of its own value, as its IO manager says
        assert "dagster/data_version" in (one.tags or {})
        assert rows[key].delivered_at is not None


def test_the_partitions_that_failed_are_told_and_the_others_are_there(
    hpc: HPCJobRunner, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    (tmp_path / "bad.b").touch()
    (tmp_path / "bad.d").touch()
    result = run_range([letters(tmp_path)], hpc, instance, "a", "e")
    assert not result.success
    assert set(materializations(instance, "letter")) == set("ace")
    failure = failure_of(result, "letter").user_failure_data
    assert "2 of 5 partitions failed: 'b', 'd'." in failure.description
    assert "exit code 3" in failure.description
    records = {record.data["partition"]: record.data for record in failure.metadata["partitions_failed"].records}
    assert set(records) == {"b", "d"}
    assert (records["b"]["exit_code"], records["b"]["state"]) == (3, "FAILED")
    assert failure.metadata["states"].value == {"COMPLETED": 3, "FAILED": 2}


def test_a_retry_of_the_step_is_a_smaller_array_of_those_that_failed(
    hpc: HPCJobRunner, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    @hpc_asset(
        profile="small", partitions_def=LETTERS, backfill_policy=ONE_RUN, retry_policy=dg.RetryPolicy(max_retries=1)
    )
    def letter(context: dg.AssetExecutionContext) -> Command:
        trace = tmp_path / f"ran.{context.partition_key}"
        script = f"echo x >>{trace}; case $1 in b|d) [ $(wc -l <{trace}) -gt 1 ];; esac"
        return Command.shell(script, args=[context.partition_key])

    result = run_range([letter], hpc, instance, "a", "e")
    assert result.success
    assert arrays(hpc) == [list("abcde"), ["b", "d"]]
    assert ran(tmp_path) == {"a": 1, "b": 2, "c": 1, "d": 2, "e": 1}
    assert {key: len(each) for key, each in materializations(instance, "letter").items()} == dict.fromkeys("abcde", 1)


def test_what_was_materialized_runs_again_when_it_is_asked_for_again(
    hpc: HPCJobRunner, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Its step had failed, for others: but this partition was received, and another run of it is new work."""
    (tmp_path / "bad.b").touch()
    run_range([letters(tmp_path)], hpc, instance, "a", "c")
    (tmp_path / "bad.b").unlink()
    assert run_range([letters(tmp_path)], hpc, instance, "a", "b").success
    assert ran(tmp_path) == {"a": 2, "b": 2, "c": 1}


def test_a_step_downstream_in_the_same_run_gets_each_value(
    hpc: HPCJobRunner, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    seen: dict[str, Any] = {}

    @dg.asset(partitions_def=LETTERS, backfill_policy=ONE_RUN)
    def after(letter: dict[str, str]) -> None:
        seen.update(letter)

    @dg.asset
    def gathered(letter: dict[str, str]) -> None:
        seen["all"] = len(letter)

    manager = dg.FilesystemIOManager(base_dir=str(tmp_path / "values"))
    resources, asset = {"io_manager": manager}, letters(tmp_path)
    assert run_range([asset, after], hpc, instance, "a", "c", resources=resources).success
    assert seen == {key: f"value of {key}" for key in "abc"}
    assert run_range([asset], hpc, instance, "d", "e", resources=resources).success
    dg.materialize([asset, gathered], selection=[gathered], instance=instance, resources={**resources, "hpc": hpc})
    assert seen["all"] == 5


def test_a_collect_that_raises_fails_its_partition_alone_and_its_finished_job_is_taken_later(
    hpc: HPCJobRunner, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    faults = ["c"]

    def strict(result: JobResult) -> str:
        value = read(result)
        if value[-1] in faults:
            raise ValueError(f"no number in {value!r}")
        return value

    asset = letters(tmp_path)
    recipe = recipe_of(asset)
    assert recipe is not None
    recipe.collect = strict
    result = run_range([asset], hpc, instance, "a", "d")
    assert "no number in 'value of c'" in failure_of(result, "letter").user_failure_data.description
    assert set(materializations(instance, "letter")) == set("abd")
    faults.clear()
    assert run_range([asset], hpc, instance, "c", "d").success
    assert ran(tmp_path) == {"a": 1, "b": 1, "c": 1, "d": 2}


def test_a_range_of_one_is_the_job_that_the_partition_alone_would_be(
    hpc: HPCJobRunner, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    asset = letters(tmp_path)
    (tmp_path / "bad.b").touch()
    assert not run_range([asset], hpc, instance, "b", "b").success
    (row,) = hpc.jobs()
    assert (row.partition_key, row.array_index, row.state) == ("b", None, JobState.FAILED)
    dg.materialize([asset], instance=instance, resources={"hpc": hpc}, partition_key="b", raise_on_error=False)
    assert len({row.identity for row in hpc.jobs()}) == 1
    assert len(hpc.jobs()) == 2
