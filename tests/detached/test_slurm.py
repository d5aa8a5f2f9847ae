"""Detached jobs on a real Slurm: an array of partitions, one of which fails, reported by a sensor."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, SlurmTarget, hpc_asset
from tests.detached.conftest import Lab
from tests.systems.slurm import SlurmCluster

KEYS = ["a", "b", "c"]


@pytest.mark.needs("slurm")
def test_an_array_of_partitions_is_reported_one_by_one(
    slurm: SlurmCluster, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)

    @hpc_asset(
        profile="small", detached=True, outputs={"answer": "answer.txt"},
        partitions_def=dg.StaticPartitionsDefinition(KEYS), backfill_policy=dg.BackfillPolicy.single_run(),
    )  # fmt: skip
    def part(context: dg.AssetExecutionContext) -> Command:
        return Command.shell(f"[ {context.partition_key} != b ] && echo {context.partition_key} >answer.txt")

    work = slurm.folder / "detached"
    hpc = HPCJobRunner(
        target=SlurmTarget(queue_cpu="cpu", project_cpu=slurm.account, poll_interval=1.0),
        profiles={"small": ExecutionProfile(walltime="00:05:00")},
        work_root=str(work), ledger_url=f"sqlite:///{tmp_path}/ledger.db",
    )  # fmt: skip
    lab = Lab(instance, hpc, [part])
    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "c"}
    job = lab.definitions.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance, tags=tags).success
    assert len({row.batch for row in hpc.jobs()}) == 1
    lab.settle()
    made = {str(each.partition): each for each in lab.materializations("part")}
    assert sorted(made) == ["a", "c"]
    assert made["a"].metadata["scheduler"].value == "slurm"
    assert [failed.partition for failed in lab.failures("part")] == ["b"]
