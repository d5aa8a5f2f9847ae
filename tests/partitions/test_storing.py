"""Values through IO managers, one partition at a time, where no step is there to tell the IO manager anything."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import Command, hpc_asset
from dagster_hpc.assets.storing import store_value

ODD = ["plain", "with space", "a/b", 'quo"te\'s', "ünïcode|bar", "..", "$(x)"]
COLOURS = dg.MultiPartitionsDefinition(
    {"colour": dg.StaticPartitionsDefinition(["red", "blue"]), "size": dg.StaticPartitionsDefinition(["s", "m l"])}
)


def asset_of(partitions: dg.PartitionsDefinition[Any] | None) -> dg.AssetsDefinition:
    @hpc_asset(profile="small", partitions_def=partitions, metadata={"table": "t"}, key_prefix="lab")
    def values() -> Command:
        return Command("/bin/true")

    return values


def loaded(tmp_path: Path, asset: dg.AssetsDefinition, key: str | None) -> Any:
    """The value as a step downstream gets it."""
    got: list[Any] = []

    @dg.asset(ins={"values": dg.AssetIn(["lab", "values"])}, partitions_def=asset.partitions_def)
    def reader(values: Any) -> None:
        got.append(values)

    manager = dg.FilesystemIOManager(base_dir=str(tmp_path))
    dg.materialize([asset, reader], selection=[reader], resources={"io_manager": manager, "hpc": None}, partition_key=key)
    return got[0]


@pytest.mark.parametrize(
    ("partitions", "keys"),
    [
        (dg.StaticPartitionsDefinition(ODD), ODD),
        (dg.DailyPartitionsDefinition("2026-01-01"), ["2026-01-01", "2026-01-02"]),
        (COLOURS, ["blue|m l", "red|s"]),
        (None, [None]),
    ],
)
def test_what_is_stored_without_a_step_is_what_a_step_downstream_loads(
    tmp_path: Path, partitions: dg.PartitionsDefinition[Any] | None, keys: list[str | None]
) -> None:
    asset, manager = asset_of(partitions), dg.FilesystemIOManager(base_dir=str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        for key in keys:
            metadata = store_value(
                manager.create_io_manager(dg.build_init_resource_context()), f"value of {key}", definition=asset,
                asset_key=asset.key, partition_key=key, instance=instance,
            )  # fmt: skip
            assert Path(str(metadata["path"].value)).exists()
    for key in keys:
        assert loaded(tmp_path, asset, key) == f"value of {key}"


def test_a_key_of_a_dynamic_partition_is_looked_up_in_the_instance(tmp_path: Path) -> None:
    asset = asset_of(dg.DynamicPartitionsDefinition(name="molecules"))
    manager = dg.FilesystemIOManager(base_dir=str(tmp_path)).create_io_manager(dg.build_init_resource_context())
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("molecules", ["H2 O"])
        store_value(
            manager, 1, definition=asset, asset_key=asset.key, partition_key="H2 O", instance=instance
        )
    assert (tmp_path / "lab" / "values" / "H2 O").exists()


class Generating(dg.IOManager):
    """An IO manager that stores as a generator, and reads what a step would tell it."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] = {}

    def handle_output(self, context: dg.OutputContext, obj: Any) -> Iterator[None]:  # type: ignore[override]
        self.stored[context.partition_key] = (obj, context.definition_metadata["table"], context.resources.prefix)
        context.add_output_metadata({"rows": 3})
        yield from ()

    def load_input(self, context: dg.InputContext) -> Any:
        return self.stored[context.partition_key]


def test_an_io_manager_that_is_a_generator_stores_and_tells_and_finds_its_resources() -> None:
    asset, manager = asset_of(dg.StaticPartitionsDefinition(["a"])), Generating()
    with dg.DagsterInstance.ephemeral() as instance:
        metadata = store_value(
            manager, 7, definition=asset, asset_key=asset.key, partition_key="a", instance=instance, run_id="r",
            resources={"prefix": "p"},
        )  # fmt: skip
    assert manager.stored == {"a": (7, "t", "p")}
    assert metadata["rows"].value == 3
