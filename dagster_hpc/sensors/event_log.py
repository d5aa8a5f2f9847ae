"""Events without a run, each of which can be found again: by the name of the report that it is part of."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster_shared.record import replace

TAG_REPORT = "dagster_hpc/report"
TAG_TOKEN = "dagster_hpc/token"
_PAGE = 100
_CLOCKS_DIFFER_S = 3600.0  # those of the ledger and of the event log


@dataclass(frozen=True)
class EventLog:
    """What one Dagster was told in the report of this name, which was begun at that time by the ledger's clock."""

    instance: dg.DagsterInstance
    report: str
    since: float

    def find(self, event: dg.AssetMaterialization | dg.AssetObservation) -> dg.EventLogRecord | None:
        """The materialization or observation of this report, if there is one for the same asset and partition."""
        made = isinstance(event, dg.AssetMaterialization)
        fetch = self.instance.fetch_materializations if made else self.instance.fetch_observations
        wanted = dg.AssetRecordsFilter(
            event.asset_key,
            asset_partitions=[event.partition] if event.partition is not None else None,
            after_timestamp=self.since - _CLOCKS_DIFFER_S,
        )
        cursor = None
        while True:
            page = fetch(wanted, limit=_PAGE, cursor=cursor)
            for record in page.records:
                said = record.asset_materialization or record.event_log_entry.asset_observation
                if said is not None and (said.tags or {}).get(TAG_REPORT) == self.report:
                    return record
            if not page.has_more:
                return None
            cursor = page.cursor

    def has_check(self, evaluation: dg.AssetCheckEvaluation) -> bool:
        """Whether this check was evaluated in this report."""
        storage, cursor = self.instance.event_log_storage, None
        while True:
            page = storage.get_asset_check_execution_history(evaluation.asset_check_key, limit=_PAGE, cursor=cursor)
            for record in page:
                said = record.event and record.event.asset_check_evaluation
                if said is not None and TAG_REPORT in said.metadata and said.metadata[TAG_REPORT].value == self.report:
                    return True
            if len(page) < _PAGE or page[-1].create_timestamp < self.since - _CLOCKS_DIFFER_S:
                return False
            cursor = page[-1].id


@dataclass(frozen=True)
class AssetEvent:
    """A materialization; or an observation, where there is none."""

    log: EventLog
    event: dg.AssetMaterialization | dg.AssetObservation

    def is_told(self) -> bool:
        return self.log.find(self.event) is not None

    def tell(self) -> None:
        self.log.instance.report_runless_asset_event(self.event)


@dataclass(frozen=True)
class CheckEvent:
    """The evaluation of a check on a materialization that was reported just before."""

    log: EventLog
    evaluation: dg.AssetCheckEvaluation
    materialization: dg.AssetMaterialization

    def is_told(self) -> bool:
        return self.log.has_check(self.evaluation)

    def tell(self) -> None:
        checked = self.log.find(self.materialization)
        target = checked and AssetCheckEvaluationTargetMaterializationData(
            storage_id=checked.storage_id, run_id=checked.run_id, timestamp=checked.timestamp
        )
        self.log.instance.report_runless_asset_event(replace(self.evaluation, target_materialization_data=target))
