"""What Dagster knows of a job after the run: its output in the compute logs, its failure with metadata."""

from __future__ import annotations

import os
import re

import dagster as dg

from dagster_hpc import Command, hpc_asset
from dagster_hpc.metadata import TAG_JOB_ID, TAG_TARGET
from definitions.targets import resources
from tests.definitions.dagster_home import DagsterHome


@hpc_asset(profile="small")
def talkative() -> Command:
    """Says something on both streams."""
    return Command.shell("echo first; echo second; echo 'a warning' >&2")


@hpc_asset(profile="small")
def broken() -> Command:
    """Ends with an exit code of its own."""
    return Command.shell("echo working; echo 'the disk is on fire' >&2; exit 3")


def run(asset: dg.AssetsDefinition, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return dg.materialize([asset], resources=resources(os.environ), instance=instance, raise_on_error=False)


def test_the_output_of_the_job_is_in_the_compute_logs(home: DagsterHome) -> None:
    with home.instance() as instance:
        result = run(talkative, instance)
        (captured,) = [
            event.logs_captured_data for event in result.all_events if event.event_type_value == "LOGS_CAPTURED"
        ]
        key = [result.run_id, "compute_logs", captured.file_key]
        logs = instance.compute_log_manager.get_log_data(key)
    assert (logs.stdout or b"").decode().splitlines() == ["first", "second"]
    assert "a warning" in (logs.stderr or b"").decode().splitlines()


def test_each_state_is_told_once_in_the_event_log(home: DagsterHome) -> None:
    with home.instance() as instance:
        result = run(talkative, instance)
        messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
    states = [text for text in messages if re.fullmatch(r"job \d+: [A-Z]+", text)]
    assert len(states) == len(set(states))
    assert states[-1].endswith(": COMPLETED")


def test_the_run_is_tagged_with_job_and_target(home: DagsterHome) -> None:
    with home.instance() as instance:
        result = run(talkative, instance)
        record = instance.get_run_by_id(result.run_id)
    metadata = result.asset_materializations_for_node("talkative")[0].metadata
    assert record is not None
    assert record.tags[TAG_JOB_ID] == metadata["job_id"].value
    assert record.tags[TAG_TARGET] == metadata["target"].value


def test_a_failed_job_is_a_failure_that_carries_its_metadata(home: DagsterHome) -> None:
    with home.instance() as instance:
        result = run(broken, instance)
    (event,) = result.get_step_failure_events()
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    assert "the disk is on fire" in (failure.description or "")
    assert "Work directory" in (failure.description or "")
    known = {name: value.value for name, value in failure.metadata.items()}
    assert (known["state"], known["exit_code"]) == ("FAILED", 3)
    assert "the disk is on fire" in str(known["stderr_tail"])
    assert all(known[name] for name in ("job_id", "target", "work_dir", "script", "elapsed_s", "cpu_time_s"))
