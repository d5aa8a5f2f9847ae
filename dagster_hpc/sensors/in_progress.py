"""`hpc_job_in_progress`: an automation condition that knows of jobs which no run waits for."""

from __future__ import annotations

import dagster as dg

from dagster_hpc.engine.ledger import Ledger
from dagster_hpc.resources.env_vars import env_value


def hpc_job_in_progress(ledger_url: str | None = None) -> dg.AutomationCondition[dg.AssetKey]:
    """True while a job of the asset (of the partition) waits or runs, or its result is not reported yet.

    To Dagster a detached asset is in progress only while its job is submitted: `AutomationCondition.in_progress()` sees
    runs. This asks the ledger. Dagster evaluates a condition of a library only in the process of the code location: such
    assets need a `dg.AutomationConditionSensorDefinition(…, use_user_code_server=True)`.

    Args:
        ledger_url: As that of the runner; default: DAGSTER_HPC_LEDGER, or the local file.

    Example:
        weekly = dg.AutomationCondition.on_cron("0 6 * * 1") & ~hpc_job_in_progress()

        @hpc_asset(profile="small", detached=True, automation_condition=weekly)
        def trajectory() -> Command:
            return Command("dynamics")
    """
    return _JobInProgress(ledger_url)


class _JobInProgress(dg.AutomationCondition[dg.AssetKey]):
    def __init__(self, ledger_url: str | None) -> None:
        self._ledger_url = ledger_url

    @property
    def name(self) -> str:
        return "hpc_job_in_progress"

    @property
    def description(self) -> str:
        return "A job waits or runs, or its result is not reported yet"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        candidates = context.candidate_subset
        if candidates.is_empty:
            return dg.AutomationResult(context, candidates)
        ledger = Ledger(self._ledger_url and env_value(self._ledger_url))
        try:
            partitions = ledger.in_progress(context.key.to_user_string())
        finally:
            ledger.close()
        if context.partitions_def is not None:
            return dg.AutomationResult(context, candidates.compute_intersection_with_partition_keys(partitions))
        return dg.AutomationResult(context, candidates if partitions else context.get_empty_subset())
