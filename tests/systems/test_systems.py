"""The real systems do what tests rely on, and a machine without them is told so."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy

from tests.systems.daemon import Daemon, SystemFailed, wait_until
from tests.systems.needs import REPOSITORY, REQUIRE
from tests.systems.postgres import PostgresServer
from tests.systems.sge import GridEngine
from tests.systems.slots import claim
from tests.systems.slurm import SlurmCluster

needs_slurm = pytest.mark.needs("slurm")


# ---------------------------------------------------------------------- Slurm with accounting


def submit(cluster: SlurmCluster, command: str, *options: str, user: str | None = None) -> str:
    """The id of a job that runs one shell line; its output is nobody's business."""
    argv = ["sbatch", "--parsable", "--output=/dev/null", "--chdir=/", *options, f"--wrap={command}"]
    return cluster.run(argv, user=user, cwd="/").stdout.strip()


def queue_state(cluster: SlurmCluster, job: str) -> str:
    return cluster.run(["squeue", "-h", "-t", "all", "-j", job, "-o", "%T"]).stdout.strip()


def accounted_state(cluster: SlurmCluster, job: str) -> str:
    return cluster.run(["sacct", "-n", "-X", "-P", "-j", job, "-o", "State"]).stdout.strip()


def wait_for_state(read: Callable[[SlurmCluster, str], str], cluster: SlurmCluster, job: str, state: str) -> None:
    wait_until(
        lambda: read(cluster, job) == state, 60, lambda: f"job {job} is {read(cluster, job) or 'unknown'}, not {state}"
    )


@needs_slurm
def test_a_job_of_each_user_reaches_the_accounting(slurm: SlurmCluster) -> None:
    ours = submit(slurm, "true")
    theirs = submit(slurm, "exit 3", user=slurm.user if slurm.root else None)
    wait_for_state(accounted_state, slurm, ours, "COMPLETED")
    wait_for_state(accounted_state, slurm, theirs, "FAILED")
    said = slurm.run(["sacct", "-n", "-X", "-P", "-j", theirs, "-o", "User,Account,ExitCode"]).stdout.strip()
    assert said == f"{slurm.user}|{slurm.account}|3:0"


@needs_slurm
def test_the_partitions_are_there(slurm: SlurmCluster) -> None:
    said = slurm.run(["sinfo", "-h", "-o", "%R %a %D"]).stdout.splitlines()
    assert sorted(said) == ["cpu up 3", "down down 1", "gpu up 1", "short up 4"]


@needs_slurm
def test_a_job_sees_the_gpu_that_it_asked_for(slurm: SlurmCluster, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    job = submit(slurm, f"echo $CUDA_VISIBLE_DEVICES >{seen}", "-p", "gpu", "--gres=gpu:1")
    wait_for_state(queue_state, slurm, job, "COMPLETED")
    assert seen.read_text() == "0\n"


@needs_slurm
def test_an_unknown_account_is_refused(slurm: SlurmCluster) -> None:
    with pytest.raises(SystemFailed, match="Invalid account"):
        submit(slurm, "true", "-A", "nobodys")


@needs_slurm
def test_a_job_beyond_its_memory_is_killed(slurm: SlurmCluster) -> None:
    if not slurm.enforces_memory:
        pytest.skip("memory is enforced as root with a writable cgroup v1 only")
    job = submit(slurm, "/usr/bin/python3 -c 'x = bytearray(200_000_000)'", "--mem=30")
    wait_for_state(accounted_state, slurm, job, "OUT_OF_MEMORY")


@needs_slurm
def test_a_running_job_outlives_the_controller(slurm: SlurmCluster, tmp_path: Path) -> None:
    done = tmp_path / "done"
    job = submit(slurm, f"while [ ! -e {done} ]; do sleep 0.1; done")
    wait_for_state(queue_state, slurm, job, "RUNNING")
    slurm.stop_controller()
    try:
        assert slurm.run(["scontrol", "ping"], check=False).returncode == 1
    finally:
        slurm.start_controller()
    assert queue_state(slurm, job) == "RUNNING"
    done.touch()
    wait_for_state(accounted_state, slurm, job, "COMPLETED")


@needs_slurm
def test_a_job_is_accounted_after_the_accounting_was_away(slurm: SlurmCluster) -> None:
    slurm.stop_accounting()
    try:
        assert slurm.run(["sacct"], check=False).returncode == 1
        job = submit(slurm, "true")
        wait_for_state(queue_state, slurm, job, "COMPLETED")
    finally:
        slurm.start_accounting()
    wait_for_state(accounted_state, slurm, job, "COMPLETED")


@needs_slurm
def test_starting_twice_changes_nothing(slurm: SlurmCluster) -> None:
    job = submit(slurm, "sleep 100")
    wait_for_state(queue_state, slurm, job, "RUNNING")
    SlurmCluster(slurm.folder).start()
    assert queue_state(slurm, job) == "RUNNING"
    slurm.run(["scancel", job])


# ---------------------------------------------------------------------- Slurm without accounting


@needs_slurm
def test_without_accounting_the_queue_is_all_there_is(
    slurm: SlurmCluster, slurm_without_accounting: SlurmCluster
) -> None:
    job = submit(slurm_without_accounting, "true")
    wait_for_state(queue_state, slurm_without_accounting, job, "COMPLETED")
    said = slurm_without_accounting.run(["sacct", "-j", job], check=False)
    assert said.returncode == 1
    assert said.stderr == "Slurm accounting storage is disabled\n"
    assert set(slurm.nodes).isdisjoint(slurm_without_accounting.nodes)


@needs_slurm
def test_a_killed_cluster_comes_up_again_in_its_folder(public_path: Path) -> None:
    cluster = SlurmCluster(public_path, accounting=False)
    cluster.start()
    try:
        job = submit(cluster, "sleep 100")
        wait_for_state(queue_state, cluster, job, "RUNNING")
        for pid_file in (public_path / "pids").iterdir():
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
        SlurmCluster(public_path, accounting=False).start()
        wait_for_state(queue_state, cluster, submit(cluster, "true"), "COMPLETED")
    finally:
        cluster.stop()
        cluster.stop()
    assert not cluster.layout.cgroups()


@needs_slurm
def test_a_port_that_another_program_took_is_named(public_path: Path) -> None:
    cluster = SlurmCluster(public_path, accounting=False)
    cluster.start()
    cluster.stop()
    port = cluster.layout.controller_port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(SystemFailed, match=f"port {port} .* is taken"):
        cluster.start()


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A folder that the daemons' users can reach; pytest's own is closed."""
    with tempfile.TemporaryDirectory(prefix="dagster-hpc-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_daemon_that_fails_is_quoted(tmp_path: Path) -> None:
    daemon = Daemon("loser", ["sh", "-c", "echo no such luck; exit 1"], tmp_path, environment=os.environ)
    with pytest.raises(SystemFailed, match=r"loser ended while starting[\s\S]*no such luck"):
        daemon.start(ready=lambda: False)


def test_a_pid_file_of_another_process_is_not_ours(tmp_path: Path) -> None:
    daemon = Daemon("old", ["sleep", "100"], tmp_path, environment=os.environ)
    (tmp_path / "pids").mkdir()
    (tmp_path / "pids" / "old").write_text(f"{os.getpid()} 1\n")
    assert daemon.pid is None
    daemon.stop()


# ---------------------------------------------------------------------- PostgreSQL


@pytest.mark.needs("postgres")
def test_postgres_answers(postgres_url: str) -> None:
    with sqlalchemy.create_engine(postgres_url).connect() as connection:
        assert connection.execute(sqlalchemy.text("select 6 * 7")).scalar() == 42


@pytest.mark.needs("postgres")
def test_postgres_keeps_its_data_and_port(public_path: Path) -> None:
    server = PostgresServer(public_path)
    server.start()
    url = server.url
    try:
        with sqlalchemy.create_engine(url).begin() as connection:
            connection.execute(sqlalchemy.text("create table kept (x int)"))
        server.stop()
        server.stop()
        PostgresServer(public_path).start()
        assert server.url == url
        with sqlalchemy.create_engine(url).connect() as connection:
            assert connection.execute(sqlalchemy.text("select count(*) from kept")).scalar() == 0
    finally:
        server.stop()


# ---------------------------------------------------------------------- the marker, and what a killed session leaves

SESSION = """
import os, pytest

@pytest.mark.needs("slurm")
def test_marked(): pass

def test_by_fixture(slurm): pass

@pytest.mark.needs("slurms")
def test_mistyped(): pass

def test_plain(tmp_path):
    assert os.environ["XDG_STATE_HOME"] == str(tmp_path / "state")
    assert "DAGSTER_HPC_LEDGER" not in os.environ
    assert "SLURM_CONF" not in os.environ
"""


def session(tmp_path: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A pytest session of its own, under this repository's conftest.py."""
    file = tmp_path / "test_inner.py"
    file.write_text(text)
    ours = ["-p", "tests.conftest", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", *ours, "-c", str(REPOSITORY / "pyproject.toml"), str(file)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """How many tests ended how; a machine may warn of its own things meanwhile."""
    counts = re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout.splitlines()[-1])
    return {outcome: int(count) for count, outcome in counts}


def test_what_the_machine_lacks_is_skipped_with_a_way_out(tmp_path: Path) -> None:
    done = session(
        tmp_path, SESSION, PATH="/nowhere", SLURM_CONF="/site", DAGSTER_HPC_LEDGER="x", DAGSTER_HPC_REQUIRE=""
    )
    assert outcomes(done) == {"passed": 1, "skipped": 2, "error": 1}  # the error: a system that nobody knows
    assert "needs slurm: this machine lacks munge, sbatch" in done.stdout
    assert "`make test` as root on Debian installs it" in done.stdout


def test_what_is_required_fails_where_it_lacks(tmp_path: Path) -> None:
    done = session(tmp_path, SESSION, PATH="/nowhere", DAGSTER_HPC_REQUIRE="postgres,slurm")
    assert outcomes(done) == {"passed": 1, "error": 3}
    assert done.returncode == 1


def test_a_required_system_that_nobody_knows_is_an_error(tmp_path: Path) -> None:
    done = session(tmp_path, SESSION, DAGSTER_HPC_REQUIRE="slurm pbs")
    assert f"{REQUIRE} names pbs" in done.stderr


def test_a_system_that_stalls_fails_its_tests_once(tmp_path: Path) -> None:
    done = session(
        tmp_path,
        """
import pytest
from tests.systems import stalls

class Stalled:
    def works(self): return False

stalls.running["sge"] = Stalled()
stalls.WAITED_S = 0
pytestmark = pytest.mark.needs("sge")

def test_first(): assert 6 * 9 == 42

def test_second(): pass

def test_third(): pass
""",
    )
    assert outcomes(done) == {"failed": 1, "error": 2}
    assert re.search(r"sge has stalled since \S+::test_first", done.stdout)


def test_a_slot_belongs_to_one_folder_for_as_long_as_that_exists(tmp_path: Path) -> None:
    claimed = [claim(tmp_path.name, tmp_path / name, range(3), lambda slot: slot != 1) for name in "ab"]
    assert claimed == [0, 2]
    assert claim(tmp_path.name, tmp_path / "b", range(3), lambda slot: False) == 2
    with pytest.raises(SystemFailed, match="are taken"):
        claim(tmp_path.name, tmp_path / "c", range(3), lambda slot: slot != 1)
    shutil.rmtree(tmp_path / "a")
    assert claim(tmp_path.name, tmp_path / "c", range(3), lambda slot: slot != 1) == 0


@needs_slurm
def test_a_killed_session_leaves_no_daemon(tmp_path: Path) -> None:
    note = tmp_path / "note"
    done = session(
        tmp_path,
        f"""
import os, signal
from pathlib import Path

def test_killed(slurm_without_accounting):
    pid = (slurm_without_accounting.folder / "pids" / "slurmctld").read_text().split()[0]
    Path("{note}").write_text(f"{{slurm_without_accounting.folder}} {{pid}}")
    os.kill(os.getpid(), signal.SIGKILL)
""",
    )
    assert done.returncode == -signal.SIGKILL
    folder = Path(note.read_text().split()[0])
    wait_until(lambda: not folder.exists(), 30, lambda: f"{folder} is still there")


# ---------------------------------------------------------------------- Grid Engine


@pytest.mark.needs("sge")
@pytest.mark.parametrize("code", [0, 3])
def test_a_grid_engine_job_of_each_user_reaches_the_accounting(sge: GridEngine, code: int) -> None:
    argv = ["qsub", "-terse", "-N", "x", "-o", "/dev/null", "-j", "y", "-b", "y", "-shell", "y", f"exit {code}"]
    job = sge.run(argv, user=sge.user if code else None).stdout.strip()

    def record() -> str:
        return sge.run(["qacct", "-j", job], check=False).stdout

    wait_until(lambda: "exit_status" in record(), 60, lambda: f"job {job} is not in the accounting")
    assert re.search(rf"^exit_status +{code} *$", record(), re.MULTILINE)


@pytest.mark.needs("sge")
def test_grid_engine_goes_down_and_comes_back_with_its_jobs(sge: GridEngine) -> None:
    job = sge.run(["qsub", "-terse", "-h", "-o", "/dev/null", "-j", "y", "-b", "y", "true"]).stdout.strip()
    sge.stop_server()
    assert "got send error" in sge.run(["qstat"], check=False).stderr
    sge.start_server()
    assert job in sge.run(["qstat"]).stdout
    sge.run(["qdel", job])


@pytest.mark.needs("sge")
def test_two_grid_engines_do_not_meet_and_a_stopped_one_leaves_nothing(sge: GridEngine, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        other = GridEngine(folder)
        other.start()
        try:
            assert other.environment["SGE_QMASTER_PORT"] != sge.environment["SGE_QMASTER_PORT"]
            groups = [re.findall(r"gid_range +(\S+)", cell.run(["qconf", "-sconf"]).stdout) for cell in (sge, other)]
            assert groups[0] != groups[1]
            job = other.run(
                ["qsub", "-terse", "-o", "/dev/null", "-j", "y", "-b", "y", "/bin/sleep", "100"]
            ).stdout.strip()
            wait_until(lambda: " r " in other.run(["qstat"]).stdout, 60, lambda: f"job {job} does not run")
        finally:
            other.stop()
        assert other._job_processes() == []
        assert other._qmaster.pid is None
        assert other._execd.pid is None
