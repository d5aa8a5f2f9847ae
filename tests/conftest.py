"""What every test can ask for: real systems, started once per session when first asked for, and a state of its own."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.systems import stalls
from tests.systems.groups import scheduler, write_groups
from tests.systems.needs import REQUIRE, SYSTEMS, place_for, require, required_systems
from tests.systems.postgres import PostgresServer
from tests.systems.sge import GridEngine
from tests.systems.slurm import SlurmCluster

# On a machine with much else to do an example may take any time.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

# Threads of numerical libraries that wait must not keep a core from the tests beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

FOLDER: pytest.StashKey[tempfile.TemporaryDirectory[str]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    unknown = required_systems() - set(SYSTEMS)
    if unknown:
        raise pytest.UsageError(f"{REQUIRE} names {', '.join(sorted(unknown))}: known are {', '.join(SYSTEMS)}")


# Side by side, as pytest-xdist calls these: the first process, then a worker, then the first process again.


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["groups"] = str(_groups_file(node.config))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        write_groups(items, Path(config.workerinput["groups"]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return scheduler(config, log, _groups_file(config))


def _groups_file(config: pytest.Config) -> Path:
    if FOLDER not in config.stash:
        config.stash[FOLDER] = tempfile.TemporaryDirectory(prefix="dagster-hpc-groups-")
    return Path(config.stash[FOLDER].name, "groups.json")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture of the test: does the machine have what the test needs?"""
    for marker in item.iter_markers("needs"):
        for system in marker.args:
            if system not in SYSTEMS:
                pytest.fail(f"needs({system!r}): known are {', '.join(SYSTEMS)}", pytrace=False)
            require(system)
    stalls.refuse_what_stalled(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[object]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    stalls.look_after(item, call, report)
    return report


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's ledger, or the cluster of a job that the tests run in."""
    for name in os.environ:
        foreign = name.startswith(("DAGSTER_HPC_", "SLURM_", "SBATCH_")) or name == "DAGSTER_HOME"
        if foreign and name != REQUIRE:
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT interrupts this process and those that it starts, also where a shell's `&` or nohup has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """A Slurm with accounting, as a site has it."""
    require("slurm")
    with place_for("slurm") as folder:
        cluster = SlurmCluster(folder)
        cluster.start()
        stalls.running["slurm"] = cluster
        yield cluster


@pytest.fixture(scope="session")
def slurm_without_accounting() -> Iterator[SlurmCluster]:
    """A Slurm beside the other one, for which sacct has nothing to say."""
    require("slurm")
    with place_for("slurm") as folder:
        cluster = SlurmCluster(folder, accounting=False)
        cluster.start()
        yield cluster


@pytest.fixture(scope="session")
def sge() -> Iterator[GridEngine]:
    """A Grid Engine of one node."""
    require("sge")
    with place_for("sge") as folder:
        engine = GridEngine(folder)
        engine.start()
        stalls.running["sge"] = engine
        yield engine


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of an empty database."""
    require("postgres")
    with place_for("postgres") as folder:
        server = PostgresServer(folder)
        server.start()
        yield server.url
