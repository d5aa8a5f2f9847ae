"""Two Dice on one node, of one user or of several: a /dev/shm of their own around a real Open MPI, or starts apart."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dagster_hpc import ExecutionProfile, HPCJobRunner, SlurmTarget
from dagster_hpc.dice import DiceSolver
from dagster_hpc.dice.job_script import STAGGER, start_lines
from tests.dice.golden import case
from tests.dice.test_solver import local_runner, problem, replay, solver
from tests.systems.daemon import wait_until
from tests.systems.slurm import SlurmCluster

hpc = pytest.fixture(local_runner, name="hpc")

ALICE, BOB = 54321, 54322  # users of this node
ROOT_MAY = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
OLD_UNSHARE = (
    '#!/bin/sh\ncase "$*" in *--map-user=*sh\\ -c*|--user\\ --map-user=*) exit 1;; esac\nexec /usr/bin/unshare "$@"\n'
)


def namespaces_are_for_users() -> None:
    words = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("this machine gives users no namespaces of their own")


@pytest.fixture
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The temporary folder that all users of a node share."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can be several users")
    namespaces_are_for_users()
    folder = Path("/tmp", f"dagster-hpc-node-{os.getpid()}")
    folder.mkdir()
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def job_of(user: int, node: Path, script: str, path: str = "") -> subprocess.Popen[str]:
    """What the job script does, on behalf of a user: the start's lines, then one rank of `script` by mpirun."""
    home = node / f"job-{user}"
    home.mkdir(exist_ok=True)
    os.chown(home, user, user)
    lines = f"{start_lines('private', 'mpirun')}\nmpirun -n 1 sh -c {script!r} &\nwait $!\n"
    words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "bash", "-c", lines]
    environment = {
        "TMPDIR": str(node),
        "HOME": str(home),
        "HPC_JOB_DIR": str(home),
        "PATH": f"{path}:{os.environ['PATH']}",
    }
    return subprocess.Popen(
        words, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.needs("mpi")
def test_two_users_run_at_once_on_a_node(node: Path) -> None:
    up = node / "up"
    first = job_of(ALICE, node, f"touch {up}; sleep 2")
    wait_until(up.exists, 30, "the first job did not start")

    second = job_of(BOB, node, "id -u; ls -A /dev/shm")

    said = second.communicate()[0]
    assert second.returncode == 0, said
    assert said.split()[0] == str(BOB), said  # and not root, whom MPIs treat differently
    assert "no private" not in said
    assert first.wait() == 0


@pytest.mark.needs("mpi")
@pytest.mark.parametrize("owner", [0, ALICE])
def test_what_a_killed_mpirun_left_is_in_nobodys_way(node: Path, owner: int) -> None:
    for left in (0, BOB):
        folder = node / f"ompi.{os.uname().nodename}.{left}"
        (folder / "jf.1").mkdir(parents=True)
        folder.chmod(0o700)
        os.chown(folder, owner, owner)

    job = job_of(BOB, node, "ls -A /dev/shm")

    said = job.communicate()[0]
    assert job.returncode == 0, said
    assert "no private" not in said


@pytest.mark.needs("mpi")
def test_an_mpirun_that_is_killed_leaves_nothing(node: Path) -> None:
    up = node / "up"
    job = job_of(ALICE, node, f"echo $PPID >{up}.tmp; mv {up}.tmp {up}; exec sleep 60")
    wait_until(up.exists, 30, "the first job did not start")
    os.kill(int(up.read_text()), signal.SIGKILL)
    assert job.wait() != 0
    assert list(node.glob("ompi.*")) == []


@pytest.mark.needs("mpi")
def test_where_unshare_cannot_map_back_the_user_is_root_inside_and_users_still_meet_nobody(node: Path) -> None:
    """util-linux before 2.36."""
    old = node / "old"
    old.mkdir()
    (old / "unshare").write_text(OLD_UNSHARE)
    (old / "unshare").chmod(0o755)
    up = node / "up"
    first = job_of(ALICE, node, f"touch {up}; sleep 2", path=str(old))
    wait_until(up.exists, 30, "the first job did not start")

    second = job_of(BOB, node, "id -u", path=str(old))

    assert second.communicate()[0].split() == ["0"]
    assert (first.wait(), second.returncode) == (0, 0)


@pytest.mark.needs("mpi")
def test_an_mpi_that_does_not_start_in_there_is_found_out(node: Path) -> None:
    broken = node / "broken"
    broken.mkdir()
    (broken / "mpirun").write_text('#!/bin/sh\n[ -z "$PRTE_MCA_prte_tmpdir_base" ] || exit 1\necho started\n')
    (broken / "mpirun").chmod(0o755)

    job = job_of(ALICE, node, "true", path=str(broken))

    said = job.communicate()[0]
    assert "no private /dev/shm" in said
    assert said.split()[-1] == "started"


def test_the_elements_of_an_array_try_it_once(hpc: HPCJobRunner, tmp_path: Path) -> None:
    """And what the first one learned is what the others do."""
    namespaces_are_for_users()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "timeout").write_text(f'#!/bin/sh\necho tried >>{tmp_path}/tries\nexec /usr/bin/timeout "$@"\n')
    (tmp_path / "bin" / "timeout").chmod(0o755)
    hpc.profiles["dice-mpi"] = ExecutionProfile(
        pre_commands=[f"PATH={tmp_path}/bin:$PATH", '[ "$HPC_ARRAY_INDEX" = 0 ] || sleep 2']
    )
    dice = solver(hpc, tmp_path, f"{replay('lih_sto3g')}; exit 1", isolation="private")

    strings, *rest = problem("lih_sto3g")
    dice.runs([strings, strings, strings], *rest)

    assert (tmp_path / "tries").read_text().split() == ["tried"]


# -- starts apart


def test_those_that_failed_together_are_started_apart(hpc: HPCJobRunner, tmp_path: Path) -> None:
    """Whatever the isolation: those that met in one second would meet again in another."""
    script = "if mkdir ../../met-$HPC_ARRAY_INDEX 2>/dev/null; then exit 139; fi\n"
    script += f"date +%s.%N >>{tmp_path}/moments; sleep 1.6; {replay('lih_sto3g')}; exit 1"
    dice = solver(hpc, tmp_path, script, isolation="none")

    strings, *rest = problem("lih_sto3g")
    with pytest.warns(UserWarning, match="tried again"):
        runs = dice.runs([strings, strings], *rest)

    moments = sorted(map(float, (tmp_path / "moments").read_text().split()))
    assert [len(run.jobs) for run in runs] == [2, 2]
    assert np.diff(moments).min() > 1.2


@pytest.mark.parametrize("isolation", ["private", "staggered", "none"])
def test_each_later_attempt_is_staggered(isolation: str) -> None:
    lines = start_lines(isolation, "mpirun", attempt=1)  # type: ignore[arg-type]
    assert lines.splitlines()[-2:] == ["hpc_dice_stagger", "true"]
    assert "unshare" not in lines


def test_staggered_starts_are_apart(tmp_path: Path) -> None:
    script = f"{STAGGER}\nhpc_dice_stagger\ndate +%s.%N"
    running = [subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    moments = sorted(float(process.communicate()[0]) for process in running)
    assert np.diff(moments).min() > 1.2


# -- on a real node


@pytest.mark.needs("slurm", "mpi")
@pytest.mark.parametrize("launcher", ["mpirun", "single"])
def test_a_node_of_slurm(launcher: str, tmp_path: Path, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    namespaces_are_for_users()
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    ranks = {"launcher": "mpirun", "mpiprocs": 2, "environments": ROOT_MAY} if launcher == "mpirun" else {}
    hpc = HPCJobRunner(
        target=SlurmTarget(queue_cpu="cpu", project_cpu=slurm.account, poll_interval=0.5),
        profiles={"dice-mpi": ExecutionProfile(walltime="00:02:00", **ranks)},
        work_root=str(tmp_path / "jobs"),
    )
    mark = f"dagster_hpc-test-{tmp_path.name}"
    script = f"echo x >/dev/shm/{mark}; ls -A /dev/shm >{tmp_path}/seen; {replay('lih_sto3g')}; exit 1"

    (run,) = solver(hpc, tmp_path, script, isolation="auto").runs([problem("lih_sto3g")[0]], *problem("lih_sto3g")[1:])

    assert run.result.energy == pytest.approx(case("lih_sto3g").meta["energy"], abs=1e-10)
    assert mark in (tmp_path / "seen").read_text()
    is_private = not Path("/dev/shm", mark).exists()
    Path("/dev/shm", mark).unlink(missing_ok=True)
    # The nodes of this Slurm have names that are no host's: its own daemon starts mpirun's ranks, outside.
    assert is_private == (launcher == "single")
    assert ("no private" in run.jobs[0].stdout_tail) == (launcher == "mpirun")


def test_embedded_solvers_need_no_isolation(hpc: HPCJobRunner) -> None:
    (run,) = DiceSolver(hpc=hpc).runs([problem("h2_sto3g")[0]], *problem("h2_sto3g")[1:])
    start = Path(run.jobs[0].handle.work_dir, "solver-start.sh").read_text()
    assert "unshare" not in start
    assert "flock" not in start
