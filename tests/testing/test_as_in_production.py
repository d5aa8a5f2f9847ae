"""Arrays of partitions, detached jobs, retries and Pipes are those of production; only the jobs are played."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_pipes import PipesContext

from dagster_hpc import Command, JobState, PipesHPCClient, Resume, RetryRule, build_hpc_job_sensor, hpc_asset
from dagster_hpc.testing import Play, PlayedRunner
from tests.partitions.runs import materializations, run_range


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_a_range_of_partitions_is_one_array_of_which_those_that_failed_run_again(
    played_hpc: PlayedRunner, instance: dg.DagsterInstance
) -> None:
    @hpc_asset(
        profile="small",
        partitions_def=dg.StaticPartitionsDefinition(["a", "b", "c"]),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def per_molecule(context: dg.AssetExecutionContext) -> Command:
        return Command("energy", args=[context.partition_key])

    played_hpc.play("energy", lambda job: Play(state="OOM" if job.partition_key == "b" else None))
    assert not run_range([per_molecule], played_hpc, instance, "a", "c").success
    assert sorted(materializations(instance, "per_molecule")) == ["a", "c"]
    played_hpc.play("energy", Play())
    assert run_range([per_molecule], played_hpc, instance, "b", "b").success
    keys = [[element.partition_key for element in job.elements or (job,)] for job in played_hpc.submitted]
    assert keys == [["a", "b", "c"], ["b"]]


def test_a_detached_job_is_reported_by_the_sensor_when_the_test_has_ended_it(
    played_hpc: PlayedRunner, instance: dg.DagsterInstance
) -> None:
    @hpc_asset(profile="small", outputs={"trajectory": "out.xyz"}, detached=True)
    def trajectory() -> Command:
        return Command("dynamics")

    defs = dg.Definitions(assets=[trajectory], sensors=[build_hpc_job_sensor()], resources={"hpc": played_hpc})

    def look() -> str:
        with dg.build_sensor_context(
            instance=instance, definitions=defs, resources={"hpc": played_hpc}
        ) as context:
            return defs.resolve_sensor_def("hpc_jobs").evaluate_tick(context).skip_message or ""

    played_hpc.play("dynamics", Play(state="RUNNING"))
    assert defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance).success
    assert look() == "1 detached under way"
    played_hpc.end("dynamics", Play(outputs={"trajectory": "1\n\nH 0 0 0\n"}))
    while "reported" not in (said := look()):
        assert "under way" in said
    assert instance.get_latest_materialization_event(dg.AssetKey("trajectory")) is not None


def test_retries_by_kind_are_submitted_with_more_and_their_delay_passes_at_once(played_hpc: PlayedRunner) -> None:
    rules = [
        RetryRule(on=["TIMEOUT"], walltime=2),
        RetryRule(on=["NODE_FAIL"], delay=3600),
    ]

    @hpc_asset(profile="small", retry=rules)
    def relaxed() -> Command:
        return Command("relax")

    played_hpc.play("relax", Play(state="TIMEOUT"), Play(state="NODE_FAIL"), Play())
    began = time.monotonic()
    assert dg.materialize([relaxed], resources={"hpc": played_hpc}).success
    assert time.monotonic() - began < 30
    assert [job.spec.walltime_s for job in played_hpc.submitted] == [300, 600, 600]
    assert [job.profile for job in played_hpc.submitted] == ["small"] * 3
    states = [row.state for row in reversed(played_hpc.jobs())]
    assert states == [JobState.TIMEOUT, JobState.NODE_FAIL, JobState.COMPLETED]


def test_a_job_that_is_not_finished_goes_on_in_its_directory(played_hpc: PlayedRunner) -> None:
    played_hpc.play("relax", Play(exit_code=85, stdout="step 1"), Play(outputs={"energy": "-1.1"}))
    result = played_hpc.run(
        Command("relax"),
        profile="small",
        outputs={"energy": "energy.txt"},
        overrides={"signal_before_end": "USR1@60"},
        resume=Resume(exit_code=85),
    )
    assert Path(result.outputs["energy"]).read_text() == "-1.1"
    assert len(played_hpc.submitted) == 2
    assert len({job.work_dir for job in played_hpc.submitted}) == 1


def energies(pipes: PipesContext) -> None:
    pipes.log.info("converged")
    pipes.report_asset_materialization(metadata={"energy": pipes.extras["shift"] - 1.1})


@dg.asset
def energy(context: dg.AssetExecutionContext, pipes: PipesHPCClient) -> Any:
    command = Command("/apps/energy", inputs={"a.xyz": "H 0 0 0"})
    return pipes.run(
        context=context, command=command, profile="small", extras={"shift": 1.0}
    ).get_materialize_result()


def test_a_program_reports_through_pipes(played_hpc: PlayedRunner) -> None:
    played_hpc.play("energy", Play(pipes=energies))
    result = dg.materialize([energy], resources={"pipes": PipesHPCClient(runner=played_hpc)})
    (event,) = result.asset_materializations_for_node("energy")
    assert event.metadata["energy"].value == pytest.approx(-0.1)
    assert played_hpc.submitted[0].inputs == {"a.xyz": "H 0 0 0"}


def test_a_program_that_reports_nothing_fails_the_step(played_hpc: PlayedRunner) -> None:
    played_hpc.play("energy", Play())
    with pytest.raises(dg.Failure, match="ended well, but"):
        dg.materialize([energy], resources={"pipes": PipesHPCClient(runner=played_hpc)})


def test_pipes_are_played_only_where_there_are_any(played_hpc: PlayedRunner) -> None:
    played_hpc.play("energy", Play(pipes=energies))
    with pytest.raises(Exception, match="for jobs of PipesHPCClient"):
        played_hpc.run(Command("energy"), profile="small")
