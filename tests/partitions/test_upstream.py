"""Each partition of a run sees itself alone: its key, its time window, and its values of upstream assets."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import Command, HPCJobRunner, hpc_asset
from tests.partitions.runs import failure_of, materializations, metadata_of, run_range

DAYS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-01-06")
LETTERS = dg.StaticPartitionsDefinition(list("abcd"))
ONE_RUN = dg.BackfillPolicy.single_run()


def downstream_of(
    partitions: dg.PartitionsDefinition[Any], annotation: Any, seen: dict[str, Any], **options: Any
) -> dg.AssetsDefinition:
    """Notes what it is called with for each partition."""

    @hpc_asset(profile="small", partitions_def=partitions, backfill_policy=ONE_RUN, **options)
    def after(context: dg.AssetExecutionContext, before: annotation) -> Command:
        seen[context.partition_key] = before
        return Command("/bin/true")

    return after


def test_a_partition_gets_the_value_of_the_same_partition_upstream(
    hpc: HPCJobRunner, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    @dg.asset(partitions_def=LETTERS)
    def before(context: dg.AssetExecutionContext) -> dict[str, str]:
        return {key: key.upper() for key in context.partition_keys}

    @dg.asset(partitions_def=LETTERS)
    def one_before(context: dg.AssetExecutionContext) -> str:
        return context.partition_key.upper()

    manager = {"io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path))}
    after = downstream_of(LETTERS, str, seen, ins={"before": dg.AssetIn("one_before")})
    for key in "abcd":
        dg.materialize([one_before], instance=instance, resources=manager, partition_key=key)
    result = run_range([one_before, after], hpc, instance, "b", "d", resources=manager, selection=[after])
    assert result.success
    assert seen == {"b": "B", "c": "C", "d": "D"}


def test_a_value_of_the_wrong_type_is_found_before_anything_is_submitted(
    hpc: HPCJobRunner, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    @dg.asset(partitions_def=LETTERS)
    def before() -> str:
        return "text"

    manager = {"io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path))}
    for key in "ab":
        dg.materialize([before], instance=instance, resources=manager, partition_key=key)
    after = downstream_of(LETTERS, int, {})
    result = run_range([before, after], hpc, instance, "a", "b", resources=manager, selection=[after])
    assert "Type check failed" in failure_of(result, "after").error.message
    assert hpc.jobs() == []


def test_several_partitions_upstream_come_as_a_dict_and_what_has_none_comes_as_it_is(
    hpc: HPCJobRunner, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    @dg.asset(partitions_def=DAYS)
    def before(context: dg.AssetExecutionContext) -> str:
        return f"of {context.partition_key}"

    @dg.asset
    def constant() -> dict[str, int]:
        return {"a": 1, "2026-01-01": 2}

    @hpc_asset(
        profile="small", partitions_def=DAYS, backfill_policy=ONE_RUN,
        ins={"before": dg.AssetIn(partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-1))},
    )  # fmt: skip
    def after(context: dg.AssetExecutionContext, before: dict[str, str], constant: dict[str, int]) -> Command:
        seen[context.partition_key] = (before, constant, context.partition_time_window.start.day)
        return Command("/bin/true")

    manager = {"io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path))}
    for day in DAYS.get_partition_keys():
        dg.materialize([before], instance=instance, resources=manager, partition_key=day)
    dg.materialize([constant], instance=instance, resources=manager)
    result = run_range(
        [before, constant, after], hpc, instance, "2026-01-02", "2026-01-04", resources=manager, selection=[after]
    )
    assert result.success
    assert seen == {
        f"2026-01-0{day}": (
            {f"2026-01-0{one}": f"of 2026-01-0{one}" for one in (day - 1, day)},
            {"a": 1, "2026-01-01": 2},
            day,
        )
        for day in (2, 3, 4)
    }


class Columns(dg.IOManager):
    """One that loads several partitions as one list, as those for databases do."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        self.rows[context.partition_key] = obj
        context.add_output_metadata({"rows": len(obj)})

    def load_input(self, context: dg.InputContext) -> Any:
        return [row for key in context.asset_partition_keys for row in self.rows[key]]


def test_an_io_manager_that_loads_a_range_as_one_thing_is_asked_for_each_partition(
    hpc: HPCJobRunner, instance: dg.DagsterInstance
) -> None:
    seen: dict[str, Any] = {}

    @dg.asset(partitions_def=LETTERS, io_manager_key="columns")
    def before(context: dg.AssetExecutionContext) -> list[str]:
        return [context.partition_key] * 2

    columns = {"columns": Columns()}
    for key in "abcd":
        dg.materialize([before], instance=instance, resources=columns, partition_key=key)
    after = downstream_of(LETTERS, list[str], seen)
    assert run_range([before, after], hpc, instance, "a", "c", resources=columns, selection=[after]).success
    assert seen == {key: [key, key] for key in "abc"}


def test_what_an_io_manager_tells_of_a_value_is_told_of_its_partition(
    hpc: HPCJobRunner, instance: dg.DagsterInstance
) -> None:
    @hpc_asset(
        profile="small", partitions_def=LETTERS, backfill_policy=ONE_RUN, io_manager_key="columns",
        collect=lambda result: result.stdout_tail.split(),
    )  # fmt: skip
    def rows(context: dg.AssetExecutionContext) -> Command:
        context.add_output_metadata({"said": context.partition_key})
        context.log_event(dg.AssetObservation("rows", partition=context.partition_key))
        return Command("/bin/echo", args=["x"] * (1 + "abcd".index(context.partition_key)))

    columns = Columns()
    assert run_range([rows], hpc, instance, "a", "c", resources={"columns": columns}).success
    assert columns.rows == {"a": ["x"], "b": ["x", "x"], "c": ["x", "x", "x"]}
    told = {key: metadata_of(one) for key, (one,) in materializations(instance, "rows").items()}
    assert {key: (each["rows"], each["said"]) for key, each in told.items()} == {"a": (1, "a"), "b": (2, "b"), "c": (3, "c")}
    assert len(instance.fetch_observations(dg.AssetKey("rows"), limit=10).records) == 3


ODD = ["plain", "with space", "a/b", 'quo"te\'s', "ünï|code", "$(touch oops)", "-n", "..", "%d{1}"]
SIZES = dg.MultiPartitionsDefinition(
    {"colour": dg.StaticPartitionsDefinition(["red", "light blue"]), "day": dg.DailyPartitionsDefinition("2026-01-01")}
)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_a_partition_key_may_hold_any_character(
    hpc: HPCJobRunner, instance: dg.DagsterInstance, tmp_path: Path, kind: str
) -> None:
    partitions: Any = dg.StaticPartitionsDefinition(ODD)
    if kind == "dynamic":
        partitions = dg.DynamicPartitionsDefinition(name="odd")
        instance.add_dynamic_partitions("odd", ODD)

    @hpc_asset(
        profile="small", partitions_def=partitions, backfill_policy=ONE_RUN, collect=lambda result: result.stdout_tail
    )
    def said(context: dg.AssetExecutionContext) -> Command:
        return Command.shell('printf %s "$1"', args=[context.partition_key])

    manager = {"io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path / "values"))}
    assert run_range([said], hpc, instance, ODD[0], ODD[-1], resources=manager).success
    assert {row.partition_key for row in hpc.jobs()} == set(ODD)
    assert set(materializations(instance, "said")) == set(ODD)
    got: dict[str, str] = {}

    @dg.asset
    def gathered(said: dict[str, str]) -> None:
        got.update(said)

    dg.materialize([said, gathered], selection=[gathered], instance=instance, resources={**manager, "hpc": hpc})
    assert got == {key: key for key in ODD}


def test_several_dimensions_are_seen_by_each_partition_and_told_of_it(
    hpc: HPCJobRunner, instance: dg.DagsterInstance
) -> None:
    seen = []

    @hpc_asset(profile="small", partitions_def=SIZES, backfill_policy=ONE_RUN)
    def pixels(context: dg.AssetExecutionContext) -> Command:
        key = context.multi_partition_key
        seen.append((key.keys_by_dimension["colour"], key.keys_by_dimension["day"], context.partition_time_window.start.day))
        return Command("/bin/true")

    # a range over dimensions is each dimension's range
    result = run_range([pixels], hpc, instance, "light blue|2026-01-01", "light blue|2026-01-03")
    assert result.success
    assert sorted(seen) == [("light blue", f"2026-01-0{day}", day) for day in (1, 2, 3)]
    (one,) = materializations(instance, "pixels")["light blue|2026-01-02"]
    assert (one.tags or {})["dagster/partition/colour"] == "light blue"
    again = dg.materialize(
        [pixels], instance=instance, resources={"hpc": hpc},
        partition_key=dg.MultiPartitionKey({"colour": "light blue", "day": "2026-01-02"}),
    )  # fmt: skip
    assert again.success
    assert len({row.identity for row in hpc.jobs()}) == 3
