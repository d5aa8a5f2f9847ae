"""Whose spool it is, what the machine has to give inside a container, and which processes are a job's."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dagster_hpc.engine.process import identify
from dagster_hpc.local_batch import processes, shepherd
from dagster_hpc.local_batch.spool import usable_memory_mib
from tests.local_batch.system import Batch, eventually

MIB = 2**20


@pytest.mark.parametrize("command", [["submit", "job.sh"], ["query"], ["cancel", "1"], ["daemon"]], ids=lambda c: c[0])
def test_a_spool_that_others_can_write_is_refused(batch: Batch, command: list[str]) -> None:
    # a planted spool.db was run as whoever used it
    batch.script("touch ran")
    batch.spool.mkdir()
    batch.spool.chmod(0o777)
    done = batch.run(*command)
    assert done.returncode == 1
    assert "can be written by others (its mode is 777), who could run jobs in your name" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(batch.spool) == []


def test_a_queue_that_others_could_write_is_refused(batch: Batch) -> None:
    batch.end(batch.submit("true"))
    (batch.spool / "spool.db").chmod(0o620)
    refused = batch.run("query")
    (batch.spool / "spool.db").chmod(0o600)
    assert "spool.db can be written by others" in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_spool_of_somebody_else_is_refused(batch: Batch) -> None:
    batch.spool.mkdir(mode=0o700)
    os.chown(batch.spool, 4711, -1)
    done = batch.run("query")
    assert (done.returncode, done.stderr) == (
        1, f"local_batch: error: {batch.spool} belongs to the user with the number 4711: choose a folder of your own\n",
    )  # fmt: skip


def test_all_of_a_spool_is_private_whatever_the_umask(batch: Batch) -> None:
    before = os.umask(0)
    try:
        job = batch.submit("touch ready; sleep 60")
    finally:
        os.umask(before)
    eventually((batch.root / "ready").exists)
    paths = [batch.spool, *batch.spool.rglob("*")]
    assert {path.name for path in paths} >= {"spool", "spool.db", "jobs", "daemon.log", "doorbell", f"{job}.sh"}
    assert not [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077]
    batch.run("cancel", job)


def test_a_job_does_not_get_the_path_by_which_python_found_the_commands(batch: Batch) -> None:
    batch.end(batch.submit('echo "${PYTHONPATH-none}"', "output=out"))
    assert batch.read("out") == "none\n"


def group(root: Path, name: str, content: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content)


@pytest.mark.parametrize(
    ("inside", "files", "expected"),
    [
        ("0::/user/session", {"user/session/memory.max": "max\n", "user/memory.max": f"{100 * MIB}\n"}, 90),
        ("0::/", {"memory.max": f"{200 * MIB}\n"}, 180),
        ("0::/not/visible/here", {"memory.max": f"{200 * MIB}\n"}, 180),
        ("5:cpu:/x\n4:memory:/x", {"memory/x/memory.limit_in_bytes": f"{50 * MIB}\n"}, 45),
        ("4:memory:/docker/1", {"memory/memory.limit_in_bytes": f"{50 * MIB}\n"}, 45),
        ("4:memory:/x", {"memory/x/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("0::/x", {"x/memory.max": "max\n"}, None),
        ("0::/x", {}, None),
    ],
)
def test_a_machine_gives_no_more_memory_than_its_control_groups_leave(
    tmp_path: Path, inside: str, files: dict[str, str], expected: int | None
) -> None:
    group(tmp_path / "proc", "self/cgroup", f"{inside}\n")
    for name, content in files.items():
        group(tmp_path / "cgroup", name, content)
    found = usable_memory_mib(tmp_path / "proc", tmp_path / "cgroup")
    assert found == (expected or usable_memory_mib(tmp_path / "absent", tmp_path / "absent"))


def test_the_family_of_a_process_is_found_without_reading_the_whole_table() -> None:
    program = f"{sys.executable} -c 'import time; time.sleep(60)' & (sleep 61; :) & setsid sleep 62 & echo ready; wait"
    with subprocess.Popen(["bash", "-c", program], stdout=subprocess.PIPE, start_new_session=True) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        leader = identify(shell.pid)
        assert leader is not None
        try:
            eventually(lambda: len(processes.relatives(leader, []) or []) == 5)
            family = processes.relatives(leader, [])
            assert family is not None
            assert shell.pid in {process.pid for process in family}
            assert processes.relatives(leader._replace(start="0"), []) == []  # a later process with its pid
        finally:
            for process in processes.relatives(leader, []) or []:
                os.kill(process.pid, 9)
    eventually(lambda: processes.relatives(leader, family) == [])


def test_the_whole_table_is_read_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    # each shepherd of a job with a memory limit read all of /proc each second
    searched: list[int] = []
    leader = identify(os.getpid())
    assert leader is not None
    watch = shepherd._Watch(None, None, leader, "mark")  # type: ignore[arg-type]

    def search(*_: object) -> list[processes.Process]:
        searched.append(watch.samples)
        return []

    monkeypatch.setattr(processes, "members", search)
    monkeypatch.setattr(processes, "relatives", lambda *_: [])  # those of this very process come and go
    for _ in range(200):
        watch._find_members()
    assert searched == [1, 3, 7, 15, 31, 63, 96, 129, 162, 195]
