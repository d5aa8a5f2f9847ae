"""This machine as a host: hard time limits, private files, an environment without the orchestrator's secrets."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_hpc.engine.call import Call
from dagster_hpc.engine.hosts.base import ENVIRONMENT, command_environment
from dagster_hpc.engine.hosts.local import LocalHost
from tests.engine.pretend import eventually

HOST = LocalHost()


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o077], ids=lambda mask: f"umask {mask:03o}")
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: str | Path) -> str:
    return f"{stat.S_IMODE(os.stat(path).st_mode):04o}"


def sh(text: str, timeout_s: float = 30.0, **environment: str) -> Call:
    return Call(("sh", "-c", text), timeout_s, environment=environment)


# -- commands


def test_what_a_command_says_and_how_it_ended_comes_back() -> None:
    answer = HOST.run(sh("echo out; echo err >&2; exit 3"))
    assert (answer.code, answer.stdout, answer.stderr) == (3, "out\n", "err\n")


def test_a_timeout_does_not_wait_for_the_grandchildren_of_a_sites_wrapper() -> None:
    # communicate() waited for all who held the pipes: a limit of 2 s was answered after 25 s
    begun = time.monotonic()
    answer = HOST.run(sh("echo begun; sleep 25 & wait", 0.5))
    assert time.monotonic() - begun < 5
    assert (answer.timed_out, answer.stdout) == (True, "begun\n")


def test_a_timeout_ends_the_grandchildren_too(tmp_path: Path) -> None:
    HOST.run(sh(f"sleep 25 & echo $! >{tmp_path}/pid; wait", 0.5))
    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())


def test_a_command_that_has_ended_is_not_waited_for_because_of_what_it_left_behind() -> None:
    begun = time.monotonic()
    answer = HOST.run(sh("echo 42; sleep 25 & exit 0"))
    assert (answer.code, answer.stdout) == (0, "42\n")
    assert time.monotonic() - begun < 5


def test_a_command_that_ignores_being_asked_to_end_is_ended() -> None:
    begun = time.monotonic()
    assert HOST.run(sh("trap '' TERM INT HUP; sleep 25; sleep 25", 0.3)).timed_out
    assert time.monotonic() - begun < 5


def test_an_interrupted_caller_leaves_no_command_behind(tmp_path: Path, ctrl_c: None) -> None:
    def interrupt() -> None:
        eventually((tmp_path / "pid").exists)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        HOST.run(sh(f"echo $$ >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; sleep 25"))
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_a_megabyte_of_output_comes_back() -> None:
    assert len(HOST.run(sh("head -c 1000000 /dev/zero | tr '\\0' x")).stdout) == 1_000_000


def test_a_command_sees_none_of_the_orchestrators_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    # sbatch and the local system hand all that they have to the job
    for name in ("DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "DAGSTER_PG_PASSWORD", "VIRTUAL_ENV", "SLURM_JOB_ID"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("SLURM_CONF", "/etc/elsewhere/slurm.conf")
    seen = HOST.run(sh("env", GIVEN="by the call")).stdout.splitlines()
    assert not [line for line in seen if "hunter2" in line]
    assert {"SLURM_CONF=/etc/elsewhere/slurm.conf", "GIVEN=by the call", f"PATH={os.environ['PATH']}"} <= set(seen)


def test_the_environment_of_a_command_is_what_the_table_says() -> None:
    names = [name.replace("*", "X") for group in ENVIRONMENT.values() for name in group]
    assert set(command_environment(dict.fromkeys(names, "x"), {})) == {*names, "LC_ALL"}
    given = {
        "PBS_JOBID": "1",
        "SLURM_JOB_ID": "1",
        "SBATCH_ACCOUNT": "x",
        "LSB_JOBID": "1",
        "SGE_TASK_ID": "1",
        "PBS_O_HOST": "x",
    }
    assert command_environment(given, {}) == {"LC_ALL": "C.UTF-8"}


def test_the_documentation_shows_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "targets.md").read_text()
    for reason, names in ENVIRONMENT.items():
        assert f"| {reason} | {', '.join(f'`{name}`' for name in names)} |" in page


# -- files


@pytest.mark.usefixtures("umask")
def test_directories_and_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    # with umask 002 the group could change what would run as its owner
    root = tmp_path / "root"
    HOST.place(f"{root}/x/abcd", {"in.txt": b"1", "deep/er/in.txt": b"2", ".job/script.sh": b"3"}, [".job", "0/.job"])
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    modes = {str(path): mode(tmp_path / path) for path in made}
    assert modes == {str(path): "0700" if (tmp_path / path).is_dir() else "0600" for path in made}
    assert (root / "x/abcd/deep/er/in.txt").read_bytes() == b"2"


@pytest.mark.usefixtures("umask")
def test_a_work_root_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o2775)
    HOST.place(f"{tmp_path}/shared/x/abcd", {"a": b""})
    assert mode(tmp_path / "shared") == "2775"
    assert mode(tmp_path / "shared" / "x") == "2700"  # the group of a project stays, for its quota


def test_a_file_that_is_placed_again_is_private_from_then_on(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("longer than what follows")
    (tmp_path / "a").chmod(0o666)
    HOST.place(str(tmp_path), {"a": b"new"})
    assert ((tmp_path / "a").read_bytes(), mode(tmp_path / "a")) == (b"new", "0600")


@pytest.mark.usefixtures("umask")
def test_a_file_is_created_once_whole_and_private(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    assert HOST.create(path, b"one\n")
    assert not HOST.create(path, b"two\n")
    assert (Path(path).read_bytes(), mode(path), HOST.list(str(tmp_path))) == (b"one\n", "0600", ["lock"])


def test_of_many_who_create_a_file_one_does(tmp_path: Path) -> None:
    made: list[int] = []
    gate = threading.Barrier(8)

    def create(number: int) -> None:
        gate.wait()
        if HOST.create(f"{tmp_path}/lock", b"%d" % number):
            made.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"%d" % number for number in made] == [(tmp_path / "lock").read_bytes()]


def test_a_file_is_created_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert HOST.create(f"{tmp_path}/lock", b"one")
    assert not HOST.create(f"{tmp_path}/lock", b"two")
    assert HOST.list(str(tmp_path)) == ["lock"]


def test_a_file_cannot_be_created_where_there_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        HOST.create(f"{tmp_path}/absent/lock", b"")


@pytest.mark.parametrize(("bits", "private"), [(0o600, True), (0o644, True), (0o664, False), (0o602, False)])
def test_what_others_can_change_is_not_private(tmp_path: Path, bits: int, private: bool) -> None:
    (tmp_path / "script").touch()
    (tmp_path / "script").chmod(bits)
    assert HOST.is_private(f"{tmp_path}/script") is private


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_belongs_to_somebody_else_is_not_private(tmp_path: Path) -> None:
    (tmp_path / "script").touch(0o600)
    os.chown(tmp_path / "script", 4711, -1)
    assert not HOST.is_private(f"{tmp_path}/script")


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (f"{tmp_path}/absent", f"{tmp_path}/file/absent", f"{tmp_path}/absent/deeper"):
        assert (HOST.read(path), HOST.tail(path, 9), HOST.size(path), HOST.list(path)) == (None, b"", None, [])


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EACCES, errno.EIO])
def test_what_cannot_be_seen_now_is_an_error_and_not_an_absence(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("builtins.open", fail)
    monkeypatch.setattr(os, "stat", fail)
    monkeypatch.setattr(os, "listdir", fail)
    for question in (HOST.read, lambda path: HOST.tail(path, 9), HOST.size, HOST.list):
        with pytest.raises(OSError, match=os.strerror(number)):
            question("/somewhere/file")
