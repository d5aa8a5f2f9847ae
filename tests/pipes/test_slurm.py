"""Dagster Pipes on a real Slurm: a job that Slurm starts again is the asset once, by what its last life said."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import PipesHPCClient
from tests.faults.conftest import on_slurm as on_slurm
from tests.faults.place import PLAIN, Place, eventually
from tests.pipes.conftest import Program
from tests.pipes.test_client import metadata_of

pytestmark = pytest.mark.needs("slurm")


def test_a_requeued_job_materializes_what_its_last_life_reported(
    on_slurm: Place, program: Program, tmp_path: Path
) -> None:
    began, go = tmp_path / "began", tmp_path / "go"
    command = program(
        f"""
pipes.log.info("here I am")
pipes.report_custom_message("life")
pipes.report_asset_materialization({{"ran_before": os.path.exists({str(began)!r})}})
open({str(began)!r}, "a").write("x")
while not os.path.exists({str(go)!r}): time.sleep(0.05)
"""
    )
    told: list[Any] = []

    @dg.asset
    def energy(context: dg.AssetExecutionContext, pipes: PipesHPCClient) -> dg.MaterializeResult:
        done = pipes.run(context=context, command=command, profile=PLAIN, timeout=240)
        told.extend(done.get_custom_messages())
        return done.get_materialize_result()

    def requeue() -> None:
        eventually(began.exists, "it runs")
        row = on_slurm.wait_for_state("RUNNING")
        on_slurm.slurm("scontrol", "requeue", row.job_id or "")
        waits = ("squeue", "-h", "-t", "all", "-j", row.job_id or "", "-o", "%T")
        eventually(lambda: on_slurm.slurm(*waits).stdout.strip() == "PENDING", "it is back in the queue")
        # Not in the second in which its first run ended: slurmd takes that for the run that was revoked, and it fails.
        on_slurm.slurm("scontrol", "update", f"jobid={row.job_id}", "StartTime=now+3seconds")
        eventually(lambda: began.read_text() == "xx", "it runs again")
        go.touch()

    hpc = on_slurm.runner(target={"poll_interval": 1.0}, profile={"directives": ["#SBATCH --requeue"]})
    requeued = on_slurm.meanwhile(requeue)
    result = dg.materialize([energy], resources={"pipes": PipesHPCClient(runner=hpc)}, raise_on_error=False)
    requeued.result(timeout=5)

    said = metadata_of(result)
    assert (said["ran_before"], said["state"], said["scheduler"]) == (True, "COMPLETED", "slurm")
    assert told == ["life"]
    assert len(on_slurm.submitted()) == 1
