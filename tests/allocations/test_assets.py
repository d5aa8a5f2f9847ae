"""Assets that know nothing of an allocation, in one."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import (
    Allocation,
    Command,
    ExecutionProfile,
    HPCJobRunner,
    JobResult,
    LocalTarget,
    SlurmTarget,
    hpc_asset,
)
from tests.allocations.place import Place

KEYS = [str(number) for number in range(6)]


def read(result: JobResult) -> int:
    return int(Path(result.outputs["out"]).read_text())


@hpc_asset(profile="step", outputs={"out": "out.txt"}, collect=read)
def seed() -> Command:
    return Command.shell("echo 7 >out.txt")


@hpc_asset(profile="step", outputs={"out": "out.txt"}, collect=read)
def doubled(seed: int) -> Command:
    return Command.shell('echo $((2 * $1)) >out.txt', args=[str(seed)])


@hpc_asset(
    profile="step", outputs={"out": "out.txt"}, collect=read, partitions_def=dg.StaticPartitionsDefinition(KEYS),
    backfill_policy=dg.BackfillPolicy.single_run(),
)  # fmt: skip
def measured(context: dg.AssetExecutionContext) -> Command:
    return Command.shell('[ "$1" != 3 ] || exit 5; echo "$1" >out.txt', args=[context.partition_key])


def test_the_assets_of_two_runs_and_of_a_backfill_go_through_one_job(tmp_path: Path) -> None:
    place = Place(tmp_path, idle=20.0)
    tags = {"dagster/asset_partition_range_start": KEYS[0], "dagster/asset_partition_range_end": KEYS[-1]}
    with dg.instance_for_test() as instance:
        chain = dg.materialize([seed, doubled], resources={"hpc": place.hpc}, instance=instance)
        backfill = dg.materialize(
            [measured], resources={"hpc": place.hpc}, instance=instance, tags=tags, raise_on_error=False
        )
        made = instance.get_materialized_partitions(dg.AssetKey("measured"))

    assert chain.output_for_node("doubled") == 14
    assert not backfill.success
    assert made == set(KEYS) - {"3"}  # each partition ends by itself, as in an array of jobs
    (held,) = place.held
    metadata = chain.asset_materializations_for_node("seed")[0].metadata
    assert metadata["job_id"].value in {row.job_id for row in place.hpc.jobs()}
    place.engine.ledger.leases.hurry(place.engine.identify().key, 0.0)
    (place.spool / "holders" / f"{held.token}.1" / "wishes" / "give-back").touch()
    place.eventually(place.is_given_back)


def test_an_allocation_is_checked_by_doctor_together_with_what_it_is_in(tmp_path: Path) -> None:
    from dagster_hpc.cli.examine import examine

    checks = {check.name: check.finding for check in examine(Place(tmp_path).hpc)}

    assert checks["local scheduler"].level == "ok"
    assert checks["steps folder"].level == "ok"
    assert checks["profile mpi"].level in ("ok", "warn")


@pytest.mark.parametrize("launcher", ["single", "srun"])
def test_a_step_of_slurm_asks_for_its_own_part_alone(launcher: str) -> None:
    hpc = HPCJobRunner(
        target=Allocation(
            inside=SlurmTarget(), folder="/scratch/steps",
            profile=ExecutionProfile(num_nodes=4, mpiprocs=8, gpus_per_node=2, walltime="08:00:00"),
        ),
        profiles={"step": ExecutionProfile(mpiprocs=1, ompthreads=3, memory_per_node="2G")}, work_root="/scratch",
    )  # fmt: skip

    script = hpc.render(Command("/bin/x"), profile="step", overrides={"launcher": launcher})

    part = "--ntasks=1 --ntasks-per-node=1 --exact --nodes=1 --cpus-per-task=3 --mem=2048M --gres=none"
    assert f'\nsrun --job-name="$hpc_job_id" {part} /bin/x <' in script


@pytest.mark.parametrize(
    ("inside", "launcher", "line"),
    [("flux", "single", "flux run --nodes=1 --ntasks=2 "), ("pbs", "mpiexec", "mpiexec -n 2 "),
     ("torque", "mpirun", "mpirun -n 2 "), ("lsf", "mpirun", "mpirun -n 2 ")],
)  # fmt: skip
def test_what_would_be_run_inside_other_systems(inside: str, launcher: str, line: str) -> None:
    """As text: none of these was tried on the real system."""
    from dagster_hpc.resources.targets import target_class

    target = target_class(inside)(name=inside)
    ranks = {"mpiprocs": 2} if launcher != "single" else {}
    hpc = HPCJobRunner(
        target=Allocation(inside=target, folder="/scratch/steps", profile=ExecutionProfile(mpiprocs=8, walltime="08:00:00")),
        profiles={"step": ExecutionProfile(launcher=launcher, **ranks)}, work_root="/scratch",  # type: ignore[arg-type]
    )  # fmt: skip

    assert f"\n{line if ranks else line.replace('=2', '=1')}" in hpc.render(Command("/bin/x"), profile="step")


def test_the_same_asset_runs_without_an_allocation(tmp_path: Path) -> None:
    hpc = HPCJobRunner(
        target=LocalTarget(spool=str(tmp_path / "local")), profiles={"step": ExecutionProfile()},
        work_root=str(tmp_path / "work"), ledger_url=f"sqlite:///{tmp_path}/ledger.db",
    )  # fmt: skip
    assert dg.materialize([seed, doubled], resources={"hpc": hpc}).output_for_node("doubled") == 14
