"""Dask and Ray start their own cluster in one job, hand an asset the client, and give the job back."""

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import ExecutionProfile, HPCJobRunner, HPCTarget, LocalTarget, SlurmTarget
from dagster_hpc.engine.job import JobState
from tests.systems.needs import REPOSITORY
from tests.systems.slurm import SlurmCluster

Example = tuple[ModuleType, Mapping[str, Any]]  # with its resources


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HPCJobRunner]:
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    target = LocalTarget(poll_interval=0.3, spool=str(tmp_path / "spool"))
    yield from runner_of(target, ExecutionProfile(walltime="00:10:00"), tmp_path)


@pytest.fixture
def on_two_nodes(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HPCJobRunner]:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    target = SlurmTarget(queue_cpu="cpu", project_cpu=slurm.account, poll_interval=0.5)
    yield from runner_of(target, ExecutionProfile(num_nodes=2, launcher="srun", memory_per_node="2500M"), tmp_path)


def runner_of(target: HPCTarget, profile: ExecutionProfile, folder: Path) -> Iterator[HPCJobRunner]:
    runner = HPCJobRunner(
        target=target,
        profiles={"cluster": profile},
        work_root=str(folder / "work"),
        ledger_url=f"sqlite:///{folder}/ledger.db",
    )
    yield runner
    for row in runner.jobs(live=True):
        runner.cancel(row.handle())


def dask_of(hpc: HPCJobRunner) -> Example:
    pytest.importorskip("distributed")
    module = example("dask_cluster")
    return module, {"dask": module.DaskCluster(hpc=hpc, profile="cluster")}


def ray_of(hpc: HPCJobRunner) -> Example:
    pytest.importorskip("ray")
    module = example("ray_cluster")
    return module, {"ray_cluster": module.RayCluster(hpc=hpc, profile="cluster")}


def states(hpc: HPCJobRunner) -> list[JobState]:
    return [row.state for row in hpc.jobs()]


@pytest.mark.parametrize("name", ["dask_cluster", "ray_cluster"])
def test_the_page_shows_the_example(name: str) -> None:
    shown = (REPOSITORY / "docs" / "dask-and-ray.md").read_text()
    assert (REPOSITORY / "examples" / f"{name}.py").read_text() in shown


@pytest.mark.parametrize("place", ["here", pytest.param("on_two_nodes", marks=pytest.mark.needs("slurm"))])
@pytest.mark.parametrize("cluster", [dask_of, ray_of])
def test_the_asset_computes_and_the_job_is_given_back(
    cluster: Callable[[HPCJobRunner], Example], place: str, request: pytest.FixtureRequest
) -> None:
    hpc: HPCJobRunner = request.getfixturevalue(place)
    module, resources = cluster(hpc)
    result = dg.materialize([module.squares], resources=resources)
    assert result.output_for_node("squares") == 328350
    assert states(hpc) == [JobState.CANCELLED]


def test_the_job_is_given_back_though_the_asset_fails(here: HPCJobRunner) -> None:
    module, resources = dask_of(here)

    @dg.asset
    def faulty(context: dg.AssetExecutionContext, dask: module.DaskCluster) -> None:  # type: ignore[name-defined]
        with dask.client(context) as client:
            client.submit(lambda: 1 / 0).result()

    result = dg.materialize([faulty], resources=resources, raise_on_error=False)
    failure = result.failure_data_for_node("faulty")
    assert failure is not None
    assert "ZeroDivisionError" in failure.error.to_string()
    assert states(here) == [JobState.CANCELLED]


@pytest.mark.needs("slurm")
def test_dask_has_a_worker_on_each_node_of_its_job(on_two_nodes: HPCJobRunner) -> None:
    module, resources = dask_of(on_two_nodes)

    @dg.asset
    def nodes(context: dg.AssetExecutionContext, dask: module.DaskCluster) -> set[str]:  # type: ignore[name-defined]
        with dask.client(context) as client:
            return set(client.run(os.getenv, "SLURMD_NODENAME").values())

    result = dg.materialize([nodes], resources=resources)
    assert len(result.output_for_node("nodes") - {None}) == 2


@pytest.mark.needs("slurm")
def test_ray_has_a_node_on_each_node_of_its_job(on_two_nodes: HPCJobRunner) -> None:
    module, resources = ray_of(on_two_nodes)

    @dg.asset
    def nodes(context: dg.AssetExecutionContext, ray_cluster: module.RayCluster) -> set[str]:  # type: ignore[name-defined]
        with ray_cluster.connected(context):
            node = module.ray.remote(os.getenv)
            group = module.ray.util.placement_group([{"CPU": 1}] * 2, strategy="STRICT_SPREAD")  # waits for both nodes
            on_each = [node.options(placement_group=group, placement_group_bundle_index=number) for number in (0, 1)]
            return set(module.ray.get([one.remote("SLURMD_NODENAME") for one in on_each]))

    result = dg.materialize([nodes], resources=resources)
    assert len(result.output_for_node("nodes") - {None}) == 2
