"""Partitions, schedules and detached jobs that are written in a `defs.yaml`."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import HPCJobRunner
from tests.components.project import Project, run
from tests.partitions.runs import arrays, materializations, metadata_of
from tests.systems.daemon import wait_until

STUDY = """
  jobs:
    - asset: energy
      partitions_def: {type: static, partition_keys: [h2, "li h", n2]}
      script: |
        echo "energy of $1" >energy.txt
      args: ["{{ partition_key }}"]
      outputs: {energy: energy.txt}
    - asset: report
      script: |
        cat "$@" >report.txt
      args: ["{{ deps.energy.energy }}"]
      outputs: {report: report.txt}
"""


def runner_of(definitions: dg.Definitions) -> HPCJobRunner:
    (runner,) = (definitions.resources or {}).values()
    assert isinstance(runner, HPCJobRunner)
    return runner


def test_a_run_of_several_partitions_is_one_array_and_the_next_job_gathers_them(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.write(STUDY)
    definitions = project.load()
    run(definitions, instance, "energy", span=("h2", "n2"))
    assert arrays(runner_of(definitions)) == [["h2", "li h", "n2"]]
    result = run(definitions, instance, "report")
    report = Path(result.output_for_node("report")["report"]).read_text()
    assert report == "energy of h2\nenergy of li h\nenergy of n2\n"


def test_what_gathers_takes_the_partitions_that_are_there(project: Project, instance: dg.DagsterInstance) -> None:
    project.write(STUDY)
    definitions = project.load()
    for key in ("n2", "h2"):
        run(definitions, instance, "energy", partition=key)
    result = run(definitions, instance, "report")
    report = Path(result.output_for_node("report")["report"]).read_text()
    assert report == "energy of h2\nenergy of n2\n"


def test_one_run_of_all_partitions_makes_the_gathering_asset_too(project: Project, instance: dg.DagsterInstance) -> None:
    project.write(STUDY)
    definitions = project.load()
    result = run(definitions, instance, span=("h2", "n2"))
    report = Path(result.output_for_node("report")["report"]).read_text()
    assert report == "energy of h2\nenergy of li h\nenergy of n2\n"
    assert arrays(runner_of(definitions)) == [["h2", "li h", "n2"], [""]]


def test_a_run_of_one_partition_makes_an_asset_without_partitions_as_such(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.write(STUDY)
    definitions = project.load()
    run(definitions, instance, "energy", span=("h2", "n2"))
    run(definitions, instance, "energy", "report", partition="h2")
    assert arrays(runner_of(definitions))[-1] == [""]


def test_a_gathered_value_within_an_argument_is_refused_in_words(project: Project, instance: dg.DagsterInstance) -> None:
    project.write(STUDY.replace('"{{ deps.energy.energy }}"', '"--in={{ deps.energy.energy }}"'))
    definitions = project.load()
    run(definitions, instance, "energy", span=("h2", "n2"))
    result = run(definitions, instance, "report", ok=False)
    (failed,) = result.get_step_failure_events()
    assert "let it be an argument of its own" in str(failed.step_failure_data.error)


def test_each_partition_is_given_its_own_upstream_partition(project: Project, instance: dg.DagsterInstance) -> None:
    partitioned = "asset: copy\n      partitions_def: {type: static, partition_keys: [h2, 'li h', n2]}"
    project.write(STUDY.replace("asset: report", partitioned))
    run(project.load(), instance, span=("h2", "n2"))
    copies = {key: made[-1].metadata["outputs"] for key, made in materializations(instance, "copy").items()}
    assert sorted(copies) == ["h2", "li h", "n2"]


TIMES = {
    "{type: daily, start_date: '2026-01-01'}": "2026-01-04",
    "{type: weekly, start_date: '2025-12-01'}": "2025-12-28",
    "{type: monthly, start_date: '2025-01-01'}": "2025-12-01",
}


def tick(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.RunRequest | None:
    schedule = definitions.resolve_schedule_def("pipeline")
    now = datetime(2026, 1, 5, 6, tzinfo=timezone.utc)
    repository = definitions.get_repository_def()
    with dg.build_schedule_context(instance, scheduled_execution_time=now, repository_def=repository) as context:
        requests = schedule.evaluate_tick(context).run_requests or []
    return requests[0] if requests else None


@pytest.mark.parametrize("partitions", TIMES)
def test_a_schedule_asks_for_the_newest_complete_window(
    project: Project, instance: dg.DagsterInstance, partitions: str
) -> None:
    project.write(f"""
      schedule: "0 6 * * *"
      jobs:
        - {{asset: made, script: 'echo "$1"', args: ["{{{{ partition_key }}}}"], partitions_def: {partitions}}}
        - {{asset: told, script: echo, deps: [made]}}
    """)
    request = tick(project.load(), instance)
    assert request is not None
    assert request.partition_key == TIMES[partitions]


def test_a_schedule_of_fixed_partitions_asks_for_all_of_them_in_one_run(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.write("schedule: {cron: '0 6 * * *', timezone: Asia/Tokyo, status: running}\n" + STUDY.replace("\n  ", "\n"))
    definitions = project.load()
    schedule = definitions.resolve_schedule_def("pipeline")
    assert (schedule.execution_timezone, schedule.default_status) == ("Asia/Tokyo", dg.DefaultScheduleStatus.RUNNING)
    request = tick(definitions, instance)
    assert request is not None
    assert request.tags["dagster/asset_partition_range_start"] == "h2"
    assert request.tags["dagster/asset_partition_range_end"] == "n2"


def test_dynamic_partitions_are_those_that_have_been_added(project: Project, instance: dg.DagsterInstance) -> None:
    project.write("""
      schedule: "@daily"
      jobs:
        - asset: made
          script: echo "$1" >made.txt
          args: ["{{ partition_key }}"]
          partitions_def: {type: dynamic, name: molecules}
    """)
    definitions = project.load()
    assert tick(definitions, instance) is None
    instance.add_dynamic_partitions("molecules", ["lih"])
    request = tick(definitions, instance)
    assert request is not None
    assert request.partition_key == "lih"


def test_a_file_with_a_detached_job_brings_the_sensor_that_reports_it(project: Project) -> None:
    project.write("jobs: [{asset: made, script: echo, detached: true}]")
    (sensor,) = project.load().sensors or []
    assert isinstance(sensor, dg.SensorDefinition)
    assert (sensor.name, sensor.default_status) == ("pipeline_jobs", dg.DefaultSensorStatus.RUNNING)
    assert sensor.required_resource_keys == {"hpc_pipeline"}


def test_the_sensor_of_the_file_reports_a_detached_job_with_its_values_and_checks(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.write("""
      jobs:
        - asset: made
          detached: true
          script: echo "7 steps" | tee said.txt
          outputs: {said: said.txt}
          values: {steps: {pattern: '(\\d+) steps'}}
          checks: {steps: {at_most: 5}}
    """)
    definitions = project.load()
    run(definitions, instance)

    def reported() -> bool:
        context = dg.build_sensor_context(instance=instance, definitions=definitions, resources=definitions.resources)
        with context:
            definitions.resolve_sensor_def("pipeline_jobs").evaluate_tick(context)
        return bool(materializations(instance, "made"))

    wait_until(reported, 60, lambda: str(runner_of(definitions).jobs()))
    ((made,),) = materializations(instance, "made").values()
    assert metadata_of(made)["steps"] == 7
    key = dg.AssetCheckKey(dg.AssetKey("made"), "steps")
    record, *_ = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)  # the newest
    assert record.status.value == "FAILED"
