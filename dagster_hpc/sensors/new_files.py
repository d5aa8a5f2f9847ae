"""`build_new_files_sensor`: each new file is a partition, and those of one look are the elements of one array job."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Sequence

import dagster as dg

from dagster_hpc.engine.clock import SYSTEM_CLOCK
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sensors.arrivals import Inbox, Look, Memory, ranges

_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_LOOK_S = 25.0  # a file system that answers later does not answer; Dagster gives an evaluation 60 s
_SHOWN = 3


def build_new_files_sensor(
    name: str = "new_files",
    *,
    folder: str,
    asset: dg.AssetsDefinition,
    pattern: str = "*",
    done_marker: str = "",
    settled_after_s: float = 60.0,
    at_most: int = 500,
    minimum_interval_seconds: int = 30,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """A sensor that makes a partition of each new file in a folder, and materializes those of one look in one run.

    The name of the file is the partition's key. An `hpc_asset` runs the partitions of one run as one array job. A file
    is taken once: one that changes later is left alone. Nothing is ever removed because a file is gone.

    Args:
        name: Of the sensor.
        folder: Where the files appear; those in folders below it are not looked at. ~ and $VAR work.
        asset: Partitioned by a `dg.DynamicPartitionsDefinition`.
        pattern: Only files with such names, as in `*.dat`.
        done_marker: What is behind the name of the empty file that says that a file is complete, as in `.done`.
        settled_after_s: Without such a marker a file is complete when it has not changed for so long.
        at_most: So many files at one look; the others come at the next.
        minimum_interval_seconds: Between two looks.
        default_status: Whether it is switched on when it is first seen.

    Example:
        @hpc_asset(profile="small", partitions_def=dg.DynamicPartitionsDefinition(name="scans"))
        def spectrum(context: dg.AssetExecutionContext) -> Command:
            return Command("bitcount", args=["--input", f"/scans/{context.partition_key}"])

        new_scans = build_new_files_sensor(folder="/scans", pattern="*.dat", asset=spectrum)
    """
    partitions = _partitions_of(asset)
    where = os.path.expanduser(os.path.expandvars(folder))
    inbox = Inbox(where, pattern, done_marker, settled_after_s, at_most)
    is_looking = threading.Lock()

    @dg.sensor(
        name=name,
        target=asset,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description=f"Makes a partition of each new {pattern} in {folder}, and materializes it.",
    )
    def new_files(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        known: list[str] = []
        looks: list[Look] = []

        def taken() -> set[str]:
            known.extend(context.instance.get_dynamic_partitions(partitions))
            return set(known)

        def look() -> None:
            with is_looking:
                looks.append(inbox.look(Memory.decode(context.cursor), taken, time.time()))

        if is_looking.locked():
            return dg.SkipReason(f"{where} has not answered yet")  # and another look would hang beside that one
        try:
            SYSTEM_CLOCK.within(_LOOK_S, look)
        except OSError as error:
            return dg.SkipReason(f"{where} cannot be looked at: {error}")
        if not looks:
            return dg.SkipReason(f"{where} has not answered for {_LOOK_S:.0f} s")
        (found,) = looks
        if not found.complete:
            context.update_cursor(found.memory.encode())
            return dg.SkipReason(_sentence(found, where))
        if found.unfit:
            context.log.warning(_unfit(found.unfit))
        order = known or context.instance.get_dynamic_partitions(partitions)
        seen = Memory.decode(context.cursor).seen
        batch = "\n".join(f"{one} {seen[one]}" for one in found.complete)
        return dg.SensorResult(
            dynamic_partitions_requests=[dg.AddDynamicPartitionsRequest(partitions, list(found.complete))],
            run_requests=[_request(asset.key, *each, batch=batch) for each in ranges(order, found.complete)],
            cursor=found.after.encode(),
        )

    return new_files


def _partitions_of(asset: dg.AssetsDefinition) -> str:
    """The name of its dynamic partitions."""
    definition = asset.partitions_def
    if isinstance(definition, dg.DynamicPartitionsDefinition) and definition.name is not None:
        return definition.name
    raise ConfigurationError(
        f"new files cannot become partitions of {asset.key.to_user_string()}, which is not partitioned dynamically",
        advice='give it partitions_def=dg.DynamicPartitionsDefinition(name="…").',
    )


def _request(key: dg.AssetKey, first: str, last: str, *, batch: str) -> dg.RunRequest:
    """One run for these partitions. The same files that are found again ask for the same run."""
    run_key = hashlib.sha256(f"{first}\n{last}\n{batch}".encode()).hexdigest()[:16]
    return dg.RunRequest(run_key=run_key, asset_selection=[key], tags={_RANGE_START: first, _RANGE_END: last})


def _sentence(found: Look, where: str) -> str:
    waiting = len(found.memory.seen)
    parts = [f"{waiting} new in {where}, not known to be complete yet" if waiting else f"nothing new in {where}"]
    return "; ".join([*parts, *([_unfit(found.unfit)] if found.unfit else [])])


def _unfit(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{shown}{more} cannot be taken: no partition can have such a name; rename them"
