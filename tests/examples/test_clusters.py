"""Dask and Ray start their own cluster in one job, hand an asset the client, and give the job back."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import dagster as dg
import pytest

from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget, SlurmTarget
from dagster_hpc.engine.job import JobState
from tests.systems.needs import REPOSITORY
from tests.systems.slurm import SlurmCluster


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hpc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HPCJobRunner]:
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    runner = HPCJobRunner(
        target=LocalTarget(poll_interval=0.3, spool=str(tmp_path / "spool")),
        profiles={"small": ExecutionProfile(walltime="00:10:00")},
        work_root=str(tmp_path / "work"),
        ledger_url=f"sqlite:///{tmp_path}/ledger.db",
    )
    yield runner
    for row in runner.jobs(live=True):
        runner.cancel(row.handle())


def states(hpc: HPCJobRunner) -> list[JobState]:
    return [row.state for row in hpc.jobs()]


@pytest.mark.parametrize("name", ["dask_cluster", "ray_cluster"])
def test_the_page_shows_the_example(name: str) -> None:
    shown = (REPOSITORY / "docs" / "dask-and-ray.md").read_text()
    assert (REPOSITORY / "examples" / f"{name}.py").read_text() in shown


def test_an_asset_computes_with_dask_and_the_job_is_given_back(hpc: HPCJobRunner) -> None:
    pytest.importorskip("distributed")
    dask = example("dask_cluster")
    result = dg.materialize([dask.squares], resources={"dask": dask.DaskCluster(hpc=hpc, profile="small")})
    assert result.output_for_node("squares") == 328350
    assert states(hpc) == [JobState.CANCELLED]


def test_the_job_is_given_back_though_the_asset_fails(hpc: HPCJobRunner) -> None:
    pytest.importorskip("distributed")
    dask = example("dask_cluster")

    @dg.asset
    def faulty(context: dg.AssetExecutionContext, dask: dask.DaskCluster) -> None:  # type: ignore[name-defined]
        with dask.client(context) as client:
            client.submit(lambda: 1 / 0).result()

    resources = {"dask": dask.DaskCluster(hpc=hpc, profile="small")}
    result = dg.materialize([faulty], resources=resources, raise_on_error=False)
    failure = result.failure_data_for_node("faulty")
    assert failure is not None
    assert "ZeroDivisionError" in failure.error.to_string()
    assert states(hpc) == [JobState.CANCELLED]


def test_an_asset_computes_with_ray_and_the_job_is_given_back(hpc: HPCJobRunner) -> None:
    pytest.importorskip("ray")
    ray = example("ray_cluster")
    result = dg.materialize([ray.squares], resources={"ray_cluster": ray.RayCluster(hpc=hpc, profile="small")})
    assert result.output_for_node("squares") == 328350
    assert states(hpc) == [JobState.CANCELLED]


@pytest.mark.needs("slurm")
def test_dask_has_a_worker_on_each_node_of_its_job(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    dask = example("dask_cluster")
    hpc = HPCJobRunner(
        target=SlurmTarget(queue_cpu="cpu", project_cpu=slurm.account, poll_interval=1.0),
        profiles={"two": ExecutionProfile(num_nodes=2, launcher="srun", memory_per_node="700M")},
        work_root=str(slurm.folder / "dask"), ledger_url=f"sqlite:///{tmp_path}/ledger.db",
    )  # fmt: skip

    def node() -> str:
        import os

        return os.environ["SLURMD_NODENAME"]

    @dg.asset
    def nodes(context: dg.AssetExecutionContext, dask: dask.DaskCluster) -> list[str]:  # type: ignore[name-defined]
        with dask.client(context) as client:
            return sorted(client.run(node).values())

    result = dg.materialize([nodes], resources={"dask": dask.DaskCluster(hpc=hpc, profile="two")})
    assert len(set(result.output_for_node("nodes"))) == 2
    assert states(hpc) == [JobState.CANCELLED]


@pytest.mark.needs("slurm")
def test_ray_has_a_node_on_each_node_of_its_job(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    cluster = example("ray_cluster")
    hpc = HPCJobRunner(
        target=SlurmTarget(queue_cpu="cpu", project_cpu=slurm.account, poll_interval=1.0),
        profiles={"two": ExecutionProfile(num_nodes=2, launcher="srun", memory_per_node="2500M")},
        work_root=str(slurm.folder / "ray"), ledger_url=f"sqlite:///{tmp_path}/ledger.db",
    )  # fmt: skip

    def node() -> str:
        import os

        return os.environ["SLURMD_NODENAME"]

    @dg.asset
    def nodes(context: dg.AssetExecutionContext, ray_cluster: cluster.RayCluster) -> list[str]:  # type: ignore[name-defined]
        with ray_cluster.connected(context):
            group = ray.util.placement_group([{"CPU": 1}] * 2, strategy="STRICT_SPREAD")  # waits for both
            tasks = [ray.remote(node).options(placement_group=group, placement_group_bundle_index=n) for n in (0, 1)]
            return sorted(ray.get([task.remote() for task in tasks]))

    result = dg.materialize([nodes], resources={"ray_cluster": cluster.RayCluster(hpc=hpc, profile="two")})
    assert len(set(result.output_for_node("nodes"))) == 2
    assert states(hpc) == [JobState.CANCELLED]
