"""The quick start runs as it stands on this machine, and on a real cluster by what the environment says."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import Site
from tests.systems.needs import REPOSITORY
from tests.systems.slurm import SlurmCluster

EXAMPLES = REPOSITORY / "examples"
LINES_OF_THE_ORIGINAL = 53  # qcsc-prefect's quick start, steps 3 and 4: its blocks and its flow, without blank lines


def materialize(folder: Path) -> dg.ExecuteInProcessResult:
    defs: dg.Definitions = runpy.run_path(str(EXAMPLES / "quick_start.py"))["defs"]
    (folder / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(folder / "dagster")) as instance:
        return defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HPC_WORK_ROOT", str(tmp_path / "work"))
    monkeypatch.setenv("DAGSTER_HPC_LEDGER", f"sqlite:///{tmp_path}/ledger.db")
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    return tmp_path


def test_it_runs_on_this_machine(elsewhere: Path) -> None:
    (said,) = materialize(elsewhere).asset_materializations_for_node("simulation")
    assert (said.metadata["scheduler"].value, said.metadata["cores"].value) == ("local", 1)
    assert "data.txt" in str(said.metadata["stdout_tail"].value)


@pytest.mark.needs("slurm")
def test_it_runs_on_a_cluster(elsewhere: Path, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    here = {"TARGET": "cluster", "QUEUE_CPU": "cpu", "PROJECT_CPU": slurm.account, "POLL_INTERVAL": "0.5",
            "EXECUTABLE_MAP": json.dumps({"simulation": "/usr/bin/cksum"})}  # fmt: skip
    for name, value in here.items():
        monkeypatch.setenv(f"DAGSTER_HPC_{name}", value)

    (said,) = materialize(elsewhere).asset_materializations_for_node("simulation")

    assert (said.metadata["scheduler"].value, said.metadata["nodes"].value) == ("slurm", 2)
    assert str(said.metadata["stdout_tail"].value).count("data.txt") == 16


def test_on_miyabi_it_would_be_started_as_there_is_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = Site.load(EXAMPLES / "site.toml").runner("miyabi").profile("mpi-16")
    assert (profile.launcher, profile.modules) == ("mpiexec.hydra", ["intel/2023.2.0", "impi/2021.10.0"])


def test_it_is_no_longer_than_the_original() -> None:
    code = [*(EXAMPLES / "site.toml").open(), *(EXAMPLES / "quick_start.py").open()]
    assert len([line for line in code if line.strip()]) <= LINES_OF_THE_ORIGINAL
