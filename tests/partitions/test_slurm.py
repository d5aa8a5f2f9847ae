"""Twenty partitions on a real Slurm: one sbatch, three fail, and the retry is one array of three."""

from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, JobResult, SlurmTarget, hpc_asset
from tests.partitions.runs import arrays, materializations, metadata_of, run_range
from tests.systems.slurm import SlurmCluster

KEYS = [f"k {number:02}/é" for number in range(20)]
BAD = [KEYS[3], KEYS[4], KEYS[17]]


@pytest.mark.needs("slurm")
def test_twenty_partitions_are_one_sbatch_and_the_three_that_failed_are_the_next(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    counted = tmp_path / "sbatch.count"
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text(f'#!/bin/sh\necho x >>{counted}\nexec /usr/bin/sbatch "$@"\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:{Path('/usr/bin')}:/bin")
    hpc = HPCJobRunner(
        target=SlurmTarget(poll_interval=1.0), profiles={"small": ExecutionProfile(walltime="00:05:00")},
        work_root=str(tmp_path / "work"), ledger_url=f"sqlite:///{tmp_path}/ledger.db",
    )  # fmt: skip

    def read(result: JobResult) -> str:
        return Path(result.outputs["out"]).read_text().strip()

    @hpc_asset(
        profile="small", outputs={"out": "out.txt"}, collect=read, partitions_def=dg.StaticPartitionsDefinition(KEYS),
        backfill_policy=dg.BackfillPolicy.single_run(), retry_policy=dg.RetryPolicy(max_retries=1),
    )  # fmt: skip
    def measured(context: dg.AssetExecutionContext) -> Command:
        trace = tmp_path / f"ran.{KEYS.index(context.partition_key)}"
        fails = f"[ $(wc -l <{trace}) -gt 1 ] || exit 3" if context.partition_key in BAD else "true"
        return Command.shell(f'echo x >>{trace}; printf %s "$1" >out.txt; {fails}', args=[context.partition_key])

    result = run_range([measured], hpc, instance, KEYS[0], KEYS[-1])

    assert result.success
    assert counted.read_text().split() == ["x", "x"]
    assert arrays(hpc) == [KEYS, BAD]
    made = materializations(instance, "measured")
    assert {key: len(each) for key, each in made.items()} == dict.fromkeys(KEYS, 1)
    ids = {key: str(metadata_of(one)["job_id"]).partition("_") for key, (one,) in made.items()}
    assert len({number for number, _, _ in ids.values()}) == 2  # of two arrays
    assert [ids[key][2] for key in BAD] == ["0", "1", "2"]
    (retried,) = [event for event in result.all_node_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    assert "3 of 20 partitions failed" in str(retried.step_retry_data.error)
