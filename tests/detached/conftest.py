"""A runner on this machine, and a Dagster with a sensor that can be asked to look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import HPCJobRunner, build_hpc_job_sensor
from tests.resources.conftest import hpc as hpc  # the embedded scheduler with a spool of its own
from tests.systems.daemon import wait_until

SETTLED_S = 60.0


@dataclass
class Lab:
    """One Dagster whose code location holds these assets and the sensor."""

    instance: dg.DagsterInstance
    hpc: HPCJobRunner
    assets: Sequence[Any] = ()
    options: dict[str, Any] = field(default_factory=dict)  # of the sensor
    resources: dict[str, Any] = field(default_factory=dict)

    @property
    def definitions(self) -> dg.Definitions:
        return dg.Definitions(
            assets=list(self.assets),
            sensors=[build_hpc_job_sensor(**self.options)],
            resources={"hpc": self.hpc, **self.resources},
        )

    def launch(
        self, *keys: str, partition: str | None = None, config: Any = None, ok: bool = True
    ) -> dg.ExecuteInProcessResult:
        """Materialize these assets (all, if none is named) in a run of the instance."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        selection = [dg.AssetKey.from_user_string(key) for key in keys] or None
        result = job.execute_in_process(
            instance=self.instance, partition_key=partition, asset_selection=selection, run_config=config,
            raise_on_error=ok,
        )  # fmt: skip
        assert result.success is ok
        return result

    def look(self) -> str:
        """One evaluation of the sensor; what it says."""
        definitions = self.definitions
        sensor = definitions.resolve_sensor_def("hpc_jobs")
        with dg.build_sensor_context(
            instance=self.instance, definitions=definitions, resources={"hpc": self.hpc, **self.resources}
        ) as context:
            result = sensor.evaluate_tick(context)
        return result.skip_message or ""

    def look_until(self, so: Callable[[], bool]) -> str:
        """Look again and again until this is so; the last words."""
        said: list[str] = []

        def looked() -> bool:
            said.append(self.look())
            return so()

        wait_until(looked, SETTLED_S, lambda: f"the sensor said {said[-3:]}; {self.hpc.jobs()}")
        return said[-1]

    def settle(self) -> str:
        """Look until nothing is owed any more."""
        return self.look_until(lambda: not self.owed())

    def owed(self) -> list[Any]:
        from dagster_hpc.engine.ledger import Ledger
        from dagster_hpc.engine.ledger.schema import REPORTS

        ledger = Ledger(self.hpc.ledger_url)
        query = REPORTS.select().where(REPORTS.c.reported_at.is_(None))
        return ledger._database.read(lambda connection: list(connection.execute(query)))

    def materializations(self, key: str) -> list[dg.AssetMaterialization]:
        """Of this asset, oldest first."""
        found = self.instance.fetch_materializations(dg.AssetKey.from_user_string(key), limit=100, ascending=True).records
        return [record.asset_materialization for record in found if record.asset_materialization]

    def failures(self, key: str) -> list[dg.AssetObservation]:
        found = self.instance.fetch_observations(dg.AssetKey.from_user_string(key), limit=100, ascending=True).records
        said = [record.event_log_entry.asset_observation for record in found]
        return [observation for observation in said if observation]

    def evaluations(self, key: str, check: str) -> list[dg.AssetCheckEvaluation]:
        history = self.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey.from_user_string(key), check), limit=100
        )
        said = [record.event.asset_check_evaluation for record in history if record.event]
        return [evaluation for evaluation in said if evaluation]


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """A Dagster on disk: values lie in its storage folder."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made


@pytest.fixture
def lab(instance: dg.DagsterInstance, hpc: HPCJobRunner) -> Lab:
    return Lab(instance, hpc)
