"""A real Slurm of four nodes on one Debian machine, without systemd and without a configuration file under /etc.

    cluster = SlurmCluster(Path("/tmp/slurm"))
    cluster.start()
    cluster.run(["sbatch", "--wrap", "hostname"])
    cluster.stop()

or from a shell, `eval "$(python -m tests.systems.slurm up /tmp/slurm)"` and, at the end, `… down /tmp/slurm`.

As root the daemons run as Debian's users for them, and root and hpcuser submit jobs under the account proj1. As anybody
else all of it runs as that user, who alone can submit, and memory is not enforced.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path

from tests.systems.cgroups import processes, remove_cgroups
from tests.systems.daemon import SBIN, Daemon, SystemFailed, port_answers, stop_all, wait_until
from tests.systems.slots import claim, one_at_a_time, slot_of
from tests.systems.slurm_config import ACCOUNT, CLUSTER, Layout, slots

HPC_USER = "hpcuser"
USABLE = {"idle", "mixed", "allocated", "completing"}


class SlurmCluster:
    """The cluster in a folder. Its partitions: cpu (default), gpu (fake GPUs), short (one minute), down."""

    account = ACCOUNT

    def __init__(self, folder: Path | str, accounting: bool = True) -> None:
        self.folder = Path(folder).resolve()
        self.accounting = accounting
        self.root = os.geteuid() == 0
        self.user = HPC_USER if self.root else pwd.getpwuid(os.geteuid()).pw_name

    # ------------------------------------------------------------------ for tests

    @property
    def environment(self) -> dict[str, str]:
        """What a process must have in its environment to speak to this cluster."""
        return {"SLURM_CONF": str(self.layout.slurm_conf)}

    @property
    def nodes(self) -> list[str]:
        """The names of the four nodes, the last with the GPUs; they depend on what else runs on this machine."""
        return self.layout.nodes

    @property
    def enforces_memory(self) -> bool:
        """Whether a job that takes more memory than it asked for ends OUT_OF_MEMORY."""
        return self.layout.enforces_memory

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        check: bool = True,
        input: str | None = None,
        cwd: Path | str | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command against this cluster; a failure (unless `check=False`) quotes what the command said."""
        done = subprocess.run(
            argv,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            env=self._environment(),
            cwd=cwd,
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise SystemFailed(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def works(self) -> bool:
        """Whether a job comes to its end within half a minute."""
        argv = ["sbatch", "--wait", "--output=/dev/null", "--chdir=/", "--wrap=true"]
        try:
            return self.run(argv, check=False, timeout=30).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def expire(self, job: str) -> None:
        """Let a running job end as TIMEOUT within half a minute, when slurmctld looks; limits are whole minutes."""
        end = datetime.now() + timedelta(seconds=1)
        self.run(["scontrol", "update", f"jobid={job}", f"EndTime={end.isoformat(timespec='seconds')}"])

    @contextlib.contextmanager
    def deaf_node(self, node: str) -> Iterator[None]:
        """This node hears nothing meanwhile; what it was sent arrives afterwards. Jobs there go on."""
        pid = self._slurmds[self.nodes.index(node)].pid
        assert pid, f"slurmd of {node} does not run"
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def stop_controller(self) -> None:
        """Running jobs go on; squeue and sbatch fail after nine seconds."""
        self._slurmctld.stop()

    def start_controller(self) -> None:
        self._slurmctld.start(ready=self._controller_answers)

    def stop_accounting(self) -> None:
        """sacct fails at once; jobs go on, and their records arrive when accounting is back."""
        self._slurmdbd.stop()

    def start_accounting(self) -> None:
        self._slurmdbd.start(ready=self._accounting_answers)

    # ------------------------------------------------------------------ up

    def start(self) -> None:
        """Bring up whatever does not run yet. A failure stops all again and quotes the daemon at fault."""
        with contextlib.ExitStack() as undo:
            self._claim_slot()
            undo.callback(self.stop)
            self._prepare_folder()
            self._munged.start(ready=self._munge_answers)
            if self.accounting:
                self._start_database()
                self.start_accounting()
                self._add_users()
            self.start_controller()
            for slurmd in self._slurmds:
                slurmd.start(ready=lambda: True)
            wait_until(self._nodes_are_up, 30, self._sleeping_nodes)
            undo.pop_all()

    def _claim_slot(self) -> None:
        """Take the ports and node names of an earlier start of this folder, or the first free ones."""
        if slot_of(self.folder) is not None:
            self._check_ports()
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_others_can_enter()
        layout = partial(Layout, self.folder, self.accounting)
        claim("slurm", self.folder, slots(self.accounting), lambda slot: is_free(layout(slot)))

    def _check_ports(self) -> None:
        if any(daemon.pid for daemon in self._daemons):
            return  # the ports are taken by ourselves

        def taken() -> list[int]:
            return [port for port in self.layout.ports if not self.layout.port_is_free(port)]

        def fault() -> str:
            return (
                f"port {', '.join(map(str, taken()))} of the cluster in {self.folder} is taken by a process that is not of "
                f"this folder: end that process (ss -ltnp shows it) or use another folder"
            )

        wait_until(lambda: not taken(), 5, fault)  # one that was killed this moment may still hold its port

    def _check_others_can_enter(self) -> None:
        """munged and MariaDB run as users of their own and must reach their folders."""
        closed = [path for path in (self.folder, *self.folder.parents) if not path.stat().st_mode & 0o001]
        if self.root and closed:
            raise SystemFailed(f"{closed[-1]} is closed to other users (chmod o+x): Slurm's daemons could not enter it")

    def _prepare_folder(self) -> None:
        if self.root:
            add_hpc_user()
        if not any(slurmd.pid for slurmd in self._slurmds):
            remove_cgroups(self.layout.cgroups())  # of a cluster that was killed
        owners = {"etc": "root", "run": "slurm", "state": "slurm", "munge": "munge", "db": "mysql", "db/tmp": "mysql"}
        for name, owner in owners.items():
            self._own(self.folder / name, owner).chmod(0o755)
        for node in self.nodes:
            (self.folder / "spool" / node).mkdir(parents=True, exist_ok=True)
        slurm_user, slurmd_user = ("slurm", "root") if self.root else (self.user, self.user)
        for name, text in self.layout.texts(slurm_user, slurmd_user).items():
            self._write(self.folder / "etc" / name, text, "slurm", 0o600 if name == "slurmdbd.conf" else 0o644)
        key = self.folder / "munge" / "key"
        if not key.exists():
            self._write(key, secrets.token_hex(64), "munge", 0o400)
        self._write(self.folder / "db.sql", DATABASE, "mysql", 0o600)

    def _start_database(self) -> None:
        data = self.folder / "db" / "data"
        if not self._installed.exists():
            shutil.rmtree(data, ignore_errors=True)  # of an installation that was killed
            # a MariaDB that starts removes what others have of temporary tables in the same folder
            argv = [
                "env",
                f"TMPDIR={self.folder}/db/tmp",
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={data}",
                "--skip-test-db",
            ]
            self.run(argv, user=self._as("mysql"), cwd=self.folder, timeout=120)
            self._installed.touch()
        self._mariadbd.start(ready=lambda: port_answers(self.layout.database_port), seconds=60)

    def _add_users(self) -> None:
        """Cluster, account and users must be known before slurmctld starts, because it enforces them."""
        if self._users_known.exists():
            return
        self.run(["sacctmgr", "-i"], input=self._user_commands(), timeout=60)
        self._users_known.touch()

    def _user_commands(self) -> str:
        users = ["root", HPC_USER] if self.root else [self.user]
        return "\n".join(
            [
                f"add cluster {CLUSTER}",
                f"add account {ACCOUNT} cluster={CLUSTER} description=project organization={CLUSTER}",
                f"add user {','.join(users)} account={ACCOUNT} defaultaccount={ACCOUNT} cluster={CLUSTER}",
            ]
        )

    # ------------------------------------------------------------------ down

    def stop(self) -> None:
        """End the jobs, then the daemons that this folder knows, then what is left of their cgroups."""
        if slot_of(self.folder) is None:
            return
        if self._slurmctld.pid and self._controller_answers():
            self._end_jobs()
        stop_all([self._slurmctld, *self._slurmds])
        if self.accounting:
            stop_all([self._slurmdbd])
            stop_all([self._mariadbd])
        stop_all([self._munged])
        remove_cgroups(self.layout.cgroups())

    def _end_jobs(self) -> None:
        jobs = self.run(["squeue", "--noheader", "--all", "--format=%A"], check=False).stdout.split()
        if not jobs:
            return
        self.run(["scancel", *sorted(set(jobs))], check=False)
        with contextlib.suppress(SystemFailed):  # what remains is killed with its cgroup
            wait_until(lambda: not self.run(["squeue", "-h", "-a"], check=False).stdout, 10, lambda: "jobs remain")

    # ------------------------------------------------------------------ parts

    @property
    def layout(self) -> Layout:
        slot = slot_of(self.folder)
        if slot is None:
            raise SystemFailed(f"the cluster in {self.folder} was never started")
        return Layout(self.folder, self.accounting, slot)

    @property
    def _installed(self) -> Path:
        return self.folder / "db" / "installed"

    @property
    def _users_known(self) -> Path:
        return self.folder / "db" / "users-known"

    @property
    def _daemons(self) -> list[Daemon]:
        accounting = [self._mariadbd, self._slurmdbd] if self.accounting else []
        return [self._munged, *accounting, self._slurmctld, *self._slurmds]

    @cached_property
    def _munged(self) -> Daemon:
        at = self.folder / "munge"
        argv = ["munged", "--foreground", "--force", f"--socket={self.layout.munge_socket}", f"--key-file={at}/key"]
        files = [f"--pid-file={at}/pid", f"--log-file={at}/log", f"--seed-file={at}/seed", "--num-threads=4"]
        return self._daemon("munged", [*argv, *files], "munge")

    @cached_property
    def _mariadbd(self) -> Daemon:
        at, port = self.folder / "db", self.layout.database_port
        argv = ["mariadbd", "--no-defaults", f"--datadir={at}/data", f"--socket={at}/socket", f"--pid-file={at}/pid"]
        loopback = ["--bind-address=127.0.0.1", f"--port={port}", "--skip-name-resolve"]
        quick = [
            f"--tmpdir={at}/tmp",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=64M",
            "--innodb-lock-wait-timeout=900",
        ]
        return self._daemon("mariadbd", [*argv, *loopback, *quick, f"--init-file={self.folder}/db.sql"], "mysql")

    @cached_property
    def _slurmdbd(self) -> Daemon:
        return self._daemon("slurmdbd", ["slurmdbd", "-D"], "slurm")

    @cached_property
    def _slurmctld(self) -> Daemon:
        return self._daemon("slurmctld", ["slurmctld", "-D"], "slurm")

    @cached_property
    def _slurmds(self) -> list[Daemon]:
        return [self._daemon(f"slurmd-{node}", ["slurmd", "-D", "-N", node], "root") for node in self.nodes]

    def _daemon(self, name: str, argv: Sequence[str], user: str) -> Daemon:
        return Daemon(name, argv, self.folder, self._as(user), self._environment())

    def _environment(self) -> dict[str, str]:
        """Ours without what an enclosing Slurm job would pass on."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        return {**clean, "PATH": f"{clean.get('PATH', os.defpath)}:{SBIN}", "LC_ALL": "C.UTF-8", **self.environment}

    def _as(self, user: str) -> str | None:
        return user if self.root else None

    def _own(self, folder: Path, user: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        if self.root:
            shutil.chown(folder, user, user)
        return folder

    def _write(self, path: Path, text: str, owner: str, mode: int) -> None:
        if path.exists() and path.read_text() == text:
            return  # clients may be reading it
        path.write_text(text)
        path.chmod(mode)
        if self.root:
            shutil.chown(path, owner, owner)

    # ------------------------------------------------------------------ what it says

    def _munge_answers(self) -> bool:
        said = self.run(["munge", "--no-input", f"--socket={self.layout.munge_socket}"], check=False)
        return said.returncode == 0

    def _accounting_answers(self) -> bool:
        return port_answers(self.layout.accounting_port, self.layout.address)

    def _controller_answers(self) -> bool:
        return "is UP" in self.run(["scontrol", "ping"], check=False).stdout

    def _node_states(self) -> dict[str, str]:
        said = self.run(["sinfo", "-h", "-N", "-p", "short", "-o", "%N %T"], check=False).stdout
        return dict(line.split() for line in said.splitlines())

    def _nodes_are_up(self) -> bool:
        """A node that a crash left down or drained is resumed on the way."""
        states = self._node_states()
        for node, state in states.items():
            if state.startswith(("down", "drain")) and not state.endswith("*"):
                self.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False)
        return len(states) == len(self.nodes) and set(states.values()) <= USABLE

    def _sleeping_nodes(self) -> str:
        logs = "\n".join(daemon.complaint("does not serve") for daemon in self._slurmds)
        return f"the nodes are not up: {self._node_states()}\n{logs}"


DATABASE = """\
CREATE DATABASE IF NOT EXISTS slurm;
CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm.* TO slurm@'127.0.0.1';
"""


def add_hpc_user() -> None:
    """An ordinary user for jobs that are not root's: the one thing that outlives the cluster."""
    with one_at_a_time():
        try:
            pwd.getpwnam(HPC_USER)
        except KeyError:
            subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", HPC_USER], check=True)


def is_free(layout: Layout) -> bool:
    """Nobody listens on the ports, and no process is in the cgroups that the nodes would use."""
    return all(map(layout.port_is_free, layout.ports)) and not any(processes(path) for path in layout.cgroups())


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.systems.slurm", description="A real Slurm in a folder.")
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--no-accounting", action="store_true", help="without slurmdbd and MariaDB")
    asked = parser.parse_args(argv)
    cluster = SlurmCluster(asked.folder, accounting=not asked.no_accounting)
    if asked.action == "down":
        cluster.stop()
        return
    cluster.start()
    for name, value in cluster.environment.items():
        print(f"export {name}={value}")


if __name__ == "__main__":
    main()
