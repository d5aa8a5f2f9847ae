"""A sensor that is asked to look, in a Dagster on disk, with a runner on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from dagster_hpc import HPCJobRunner
from tests.detached.conftest import instance as instance
from tests.resources.conftest import hpc as hpc  # the embedded scheduler with a spool of its own


@dataclass
class Watch:
    """One sensor and its cursor, as the daemon keeps it from look to look."""

    instance: dg.DagsterInstance
    hpc: HPCJobRunner
    sensor: dg.SensorDefinition | None = None
    assets: Sequence[Any] = ()
    cursor: str | None = None
    said: list[str] = field(default_factory=list)

    def look(self, *, keeps_cursor: bool = True) -> SensorExecutionData:
        """One evaluation. `keeps_cursor=False`: the daemon died before it had kept anything of it."""
        assert self.sensor is not None
        definitions = dg.Definitions(assets=list(self.assets), sensors=[self.sensor], resources={"hpc": self.hpc})
        sensor = definitions.resolve_sensor_def(self.sensor.name)
        with dg.build_sensor_context(
            instance=self.instance, definitions=definitions, resources={"hpc": self.hpc}, cursor=self.cursor,
            sensor_name=sensor.name,
        ) as context:  # fmt: skip
            result = sensor.evaluate_tick(context)
        if keeps_cursor:
            self.cursor = result.cursor
        self.said.append(result.skip_message or "")
        return result

    def requests(self, **options: bool) -> list[dg.RunRequest]:
        return list(self.look(**options).run_requests or [])


@pytest.fixture
def watch(instance: dg.DagsterInstance, hpc: HPCJobRunner) -> Watch:
    return Watch(instance, hpc)
