"""Rules on assets: Dagster sees one materialization, or a failure once they are spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from dagster_hpc import Command, HPCJobRunner, Resume, RetryRule, hpc_asset

ONCE_MORE = RetryRule(exit_codes=[7])


def materialize(asset: dg.AssetsDefinition, hpc: HPCJobRunner) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize([asset], resources={"hpc": hpc}, instance=instance, raise_on_error=False)


def attempts(event: dg.AssetMaterialization) -> list[dict[str, Any]]:
    table = event.metadata["attempts"]
    assert isinstance(table, dg.TableMetadataValue)
    return [dict(record.data) for record in table.records]


def test_an_asset_is_materialized_once_by_the_last_attempt(hpc: HPCJobRunner, tmp_path: Path) -> None:
    @hpc_asset(profile="small", retry=[ONCE_MORE])
    def counts() -> Command:
        return Command.shell(f"test -e {tmp_path}/mark || {{ touch {tmp_path}/mark; exit 7; }}")

    result = materialize(counts, hpc)

    assert result.success
    (event,) = result.asset_materializations_for_node("counts")
    assert [record["state"] for record in attempts(event)] == ["FAILED", "COMPLETED"]


def test_dagsters_own_retries_begin_when_the_rules_are_spent(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small", retry=[ONCE_MORE], retry_policy=dg.RetryPolicy(max_retries=1))
    def counts() -> Command:
        return Command.shell("exit 7")

    result = materialize(counts, hpc)

    assert not result.success
    assert len(result.get_step_failure_events()) == 1
    rows = hpc.jobs()
    assert len(rows) == 4  # two of the first try, two of Dagster's
    assert len({row.chain for row in rows}) == 2


def test_the_rules_of_a_runner_may_be_written_on_the_launchpad(hpc: HPCJobRunner, tmp_path: Path) -> None:
    @hpc_asset(profile="small")
    def counts() -> Command:
        return Command.shell(f"test -e {tmp_path}/mark || {{ touch {tmp_path}/mark; exit 7; }}")

    rules, profiles = [{"exit_codes": [7], "delay": 0.1}], {"small": {}}
    given = {"retry": rules, "profiles": profiles, "work_root": hpc.work_root, "ledger_url": hpc.ledger_url}
    blank = HPCJobRunner.configure_at_launch(target=hpc.target)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [counts], resources={"hpc": blank}, instance=instance, raise_on_error=False,
            run_config={"resources": {"hpc": {"config": given}}},
        )  # fmt: skip
    assert result.success
    assert len(hpc.jobs()) == 2


def test_an_asset_that_is_resumed_is_one_materialization(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small", overrides={"signal_before_end": "USR1@60"}, resume=Resume(exit_code=85), outputs={"n": "n"})
    def relaxed() -> Command:
        return Command.shell("n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) >n; [ $n = 2 ] || exit 85")

    result = materialize(relaxed, hpc)

    (event,) = result.asset_materializations_for_node("relaxed")
    assert Path(result.output_for_node("relaxed")["n"]).read_text() == "3\n"
    assert len(attempts(event)) == 3
