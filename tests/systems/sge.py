"""A real Grid Engine of one node in a folder: its own SGE_ROOT, so that nothing of Debian's own cell is touched.

    engine = GridEngine(Path("/tmp/sge"))
    engine.start()
    engine.run(["qsub", "-terse", "-b", "y", "hostname"])
    engine.stop()

or from a shell, `eval "$(python -m tests.systems.sge up /tmp/sge)"` and, at the end, `… down /tmp/sge`.

Only root can bring it up: the daemons change their user. root and hpcuser submit jobs; those are fake where a site has
more: slots for a machine twice as large, a resource `gpu`, and memory that is counted as it is asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from tests.systems.daemon import (
    SBIN,
    Daemon,
    SystemFailed,
    kill_all,
    port_answers,
    port_is_free,
    send,
    stop_all,
    wait_until,
)
from tests.systems.slots import claim, slot_of
from tests.systems.slurm import HPC_USER, add_hpc_user

ADMIN = "sgeadmin"
FIRST_PORT, PORTS_PER_SLOT = 27300, 2
# Each job's processes carry a group of their own, by which the daemon finds and kills them: another cell's must differ.
FIRST_GROUP, GROUPS_PER_SLOT = 55000, 100
MACHINE_SLOTS = 50
PROGRAMS, SHARED = Path("/usr/lib/gridengine"), Path("/usr/share/gridengine")
SLOTS = 8


class GridEngine:
    """The cell in a folder. Its queues: all.q (default) and short.q (one minute); its environments: smp and mpi."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).resolve()
        self.user = HPC_USER

    # ------------------------------------------------------------------ for tests

    @property
    def environment(self) -> dict[str, str]:
        """What a process must have in its environment to speak to this cell."""
        port = self._port
        ports = {"SGE_QMASTER_PORT": str(port), "SGE_EXECD_PORT": str(port + 1)}
        return {"SGE_ROOT": str(self._root), "SGE_CELL": "default", "SGE_CLUSTER_NAME": "testing", **ports}

    @property
    def accounting_file(self) -> Path:
        """The text file that qacct reads."""
        return self._common / "accounting"

    def run(
        self, argv: Sequence[str], *, user: str | None = None, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command against this cell; a failure (unless `check=False`) quotes what the command said."""
        done = subprocess.run(
            argv,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            env=self._environment(),
            cwd="/",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        if check and done.returncode:
            raise SystemFailed(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def works(self) -> bool:
        """Whether a job comes to its end within half a minute."""
        argv = ["qsub", "-sync", "y", "-o", "/dev/null", "-j", "y", "-b", "y", "true"]
        try:
            return self.run(argv, check=False, timeout=30).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def stop_server(self) -> None:
        """qstat, qsub and qdel fail at once; qacct, which reads a file, and running jobs go on."""
        self._qmaster.stop()

    def start_server(self) -> None:
        self._qmaster.start(ready=self._answers, seconds=40)

    def lose_node(self) -> None:
        """The machine dies with all that runs on it, and comes back empty."""
        for pid in self._job_processes():  # not after the daemon: then a job was now and then waiting again
            send(pid, signal.SIGKILL)
        execd = self._execd.pid
        if execd is not None:
            send(execd, signal.SIGKILL)
        wait_until(lambda: self._execd.pid is None, 10, lambda: "sge_execd does not die")
        kill_all(self._job_processes)
        self._execd.start(ready=self._node_is_up, seconds=60)

    # ------------------------------------------------------------------ up

    def start(self) -> None:
        """Bring up whatever does not run yet. A failure stops all again and quotes the daemon at fault."""
        if os.geteuid() != 0:
            raise SystemFailed("Grid Engine's daemons change their user, which only root can")
        with contextlib.ExitStack() as undo:
            claim("sge", self.folder, range(MACHINE_SLOTS), is_free)
            undo.callback(self.stop)
            add_hpc_user()
            if not self._installed.exists():
                self._install()
            self.start_server()
            self._configure()
            self._execd.start(ready=self._node_is_up, seconds=60)
            undo.pop_all()

    def _install(self) -> None:
        """A cell of its own, as /usr/share/gridengine/scripts/init_cluster makes Debian's."""
        shutil.rmtree(self._root, ignore_errors=True)  # of an installation that was killed
        architecture = subprocess.run([SHARED / "util" / "arch"], capture_output=True, text=True, check=True).stdout
        for name in ("bin", "lib", "utilbin"):
            (self._root / name).mkdir(parents=True)
            (self._root / name / architecture.strip()).symlink_to(PROGRAMS)
        (self._root / "util").symlink_to(SHARED / "util")
        for folder in (self._common, *(self._spool / name for name in ("qmaster/job_scripts", "db", "execd"))):
            folder.mkdir(parents=True)
        for name, text in self._files().items():
            (self._common / name).write_text(text)
        self._temporary.mkdir(exist_ok=True)
        self._temporary.chmod(0o1777)
        for path in (self._root / "default", self._spool):
            subprocess.run(["chown", "-R", f"{ADMIN}:{ADMIN}", path], check=True)
        resources = SHARED / "util" / "resources"
        spooldefaults = str(PROGRAMS / "spooldefaults")
        self.run([str(PROGRAMS / "spoolinit"), "berkeleydb", "libspoolb", str(self._spool / "db"), "init"], user=ADMIN)
        self.run([spooldefaults, "configuration", str(self._common / "configuration")], user=ADMIN)
        self.run([spooldefaults, "complexes", str(resources / "centry")], user=ADMIN)
        self.run([spooldefaults, "usersets", str(resources / "usersets")], user=ADMIN)
        for manager in (ADMIN, "root"):
            self.run([spooldefaults, "managers", manager], user=ADMIN)
        self._installed.touch()

    def _files(self) -> dict[str, str]:
        first_group = FIRST_GROUP + GROUPS_PER_SLOT * self._slot
        bootstrap = {
            "admin_user": ADMIN,
            "spooling_params": str(self._spool / "db"),
            "qmaster_spool_dir": str(self._spool / "qmaster"),
        }
        configuration = {
            "execd_spool_dir": str(self._spool / "execd"),
            "gid_range": f"{first_group}-{first_group + GROUPS_PER_SLOT - 1}",
            "mailer": "/bin/true",
            "login_shells": "csh",  # else every job reads the profile of whoever runs the tests
            "min_uid": "0",  # so that root, who runs the tests, may have jobs
            "min_gid": "0",
            "load_report_time": "00:00:05",
            "max_unheard": "00:01:00",
            "reporting_params": "accounting=true reporting=false flush_time=00:00:01 joblog=false sharelog=00:00:00",
            "finished_jobs": "100",
        }
        return {
            "bootstrap": _changed((SHARED / "default-bootstrap").read_text(), bootstrap),
            "configuration": _changed((SHARED / "default-configuration").read_text(), configuration),
            "act_qmaster": f"{self.host}\n",
            "host_aliases": f"{self.host} localhost\n",
            "cluster_name": "testing\n",
        }

    def _configure(self) -> None:
        """What an administrator does with qconf: hosts, resources, parallel environments, queues, a quick scheduler."""
        if self._configured.exists():
            return
        self.run(["qconf", "-as", self.host])
        scheduler = self.run(["qconf", "-ssconf"]).stdout
        self._give("-Msconf", "sconf", _changed(scheduler, {"schedule_interval": "0:0:1"}))
        resources = self.run(["qconf", "-sc"]).stdout
        resources = _changed(resources, {"h_vmem": "h_vmem MEMORY <= YES YES 2G 0"})
        self._give("-Mc", "centry", f"{resources}gpu gpu INT <= YES YES 0 0\n")
        self._give("-Ae", "host", _lines(HOST) | {"hostname": self.host, "complex_values": "h_vmem=64G,gpu=4"})
        for name, rule in {"smp": "$pe_slots", "mpi": "$fill_up"}.items():
            self._give("-Ap", name, _lines(ENVIRONMENT) | {"pe_name": name, "allocation_rule": rule})
        for name, limit in {"all.q": "INFINITY", "short.q": "00:01:00"}.items():
            queue = _queue() | {"qname": name, "hostlist": self.host, "h_rt": limit, "tmpdir": str(self._temporary)}
            self._give("-Aq", name, queue)
        self._configured.touch()

    def _give(self, option: str, name: str, content: str | Mapping[str, str]) -> None:
        """Hand qconf a file."""
        path = self.folder / f"{name}.qconf"
        if not isinstance(content, str):
            content = "".join(f"{key} {value}\n" for key, value in content.items())
        path.write_text(content)
        self.run(["qconf", option, str(path)])

    # ------------------------------------------------------------------ down

    def stop(self) -> None:
        """End the jobs, then the daemons that this folder knows."""
        if slot_of(self.folder) is None:
            return
        if self._qmaster.pid and self._answers():
            self.run(["qdel", "-f", "-u", "*"], check=False)
        stop_all([self._execd, self._qmaster], seconds=2)  # what they would still write is worth nothing
        kill_all(self._job_processes)

    # ------------------------------------------------------------------ parts

    @cached_property
    def host(self) -> str:
        """The one name under which all daemons know this machine."""
        return socket.gethostname().lower()

    @property
    def _slot(self) -> int:
        slot = slot_of(self.folder)
        if slot is None:
            raise SystemFailed(f"the Grid Engine in {self.folder} was never started")
        return slot

    @property
    def _port(self) -> int:
        return FIRST_PORT + PORTS_PER_SLOT * self._slot

    @property
    def _temporary(self) -> Path:
        """In which each job has a folder JOB.TASK.QUEUE, a name that another cell's jobs have too."""
        return self.folder / "tmp"

    @property
    def _root(self) -> Path:
        return self.folder / "root"

    @property
    def _common(self) -> Path:
        return self._root / "default" / "common"

    @property
    def _spool(self) -> Path:
        return self.folder / "spool"

    @property
    def _installed(self) -> Path:
        return self._spool / "installed"

    @property
    def _configured(self) -> Path:
        return self._spool / "configured"

    @cached_property
    def _qmaster(self) -> Daemon:
        return self._daemon("sge_qmaster")

    @cached_property
    def _execd(self) -> Daemon:
        return self._daemon("sge_execd")

    def _daemon(self, name: str) -> Daemon:
        # SGE_ND: stay in the foreground
        return Daemon(name, [str(PROGRAMS / name)], self.folder, environment={**self._environment(), "SGE_ND": "1"})

    def _environment(self) -> dict[str, str]:
        """Ours without what an enclosing job would pass on."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SGE_")}
        return {**clean, "PATH": f"{clean.get('PATH', os.defpath)}:{SBIN}", "LC_ALL": "C.UTF-8", **self.environment}

    def _answers(self) -> bool:
        return port_answers(self._port) and self.run(["qstat"], check=False).returncode == 0

    def _node_is_up(self) -> bool:
        """Its load has been reported, and no queue on it is in an unknown or error state."""
        rows = self.run(["qstat", "-f"], check=False).stdout.splitlines()
        queues = [row.split() for row in rows if "@" in row]
        return len(queues) == 2 and all(len(queue) == 5 and queue[3] != "-NA-" for queue in queues)

    def _job_processes(self) -> list[int]:
        """The shepherds of this cell and all that descends from them: they carry the cell in their environment."""
        mark, found = f"SGE_ROOT={self._root}".encode(), []
        daemons = {self._qmaster.pid, self._execd.pid}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                pid, variables = int(folder.name), (folder / "environ").read_bytes().split(b"\0")
                inside = mark in variables and (b"JOB_ID" in {v.partition(b"=")[0] for v in variables})
                shepherd = mark in variables and b"sge_shepherd" in (folder / "cmdline").read_bytes()
                if (inside or shepherd) and pid not in daemons and pid != os.getpid():
                    found.append(pid)
        return found


def is_free(slot: int) -> bool:
    """Nobody listens on its ports."""
    first = FIRST_PORT + PORTS_PER_SLOT * slot
    return all(map(port_is_free, range(first, first + PORTS_PER_SLOT)))


def _lines(text: str) -> dict[str, str]:
    """`key value` lines."""
    return dict(line.split(None, 1) for line in text.splitlines() if line.strip())


def _changed(text: str, values: Mapping[str, str]) -> str:
    """A configuration text with other values for some of its keys."""
    lines = []
    for line in text.splitlines():
        key = line.split(None, 1)[0] if line.strip() else ""
        lines.append(f"{key} {values[key]}" if key in values else line)
    return "\n".join(lines) + "\n"


def _queue() -> dict[str, str]:
    resources = ("rt", "cpu", "fsize", "data", "stack", "core", "rss", "vmem")
    limits = {f"{kind}_{resource}": "INFINITY" for resource in resources for kind in "sh"}
    return _lines(QUEUE) | limits | {"slots": str(SLOTS)}


HOST = """
hostname        here
load_scaling    NONE
complex_values  NONE
user_lists      NONE
xuser_lists     NONE
projects        NONE
xprojects       NONE
usage_scaling   NONE
report_variables NONE
"""
ENVIRONMENT = """
pe_name            smp
slots              999
user_lists         NONE
xuser_lists        NONE
start_proc_args    NONE
stop_proc_args     NONE
allocation_rule    $pe_slots
control_slaves     TRUE
job_is_first_task  FALSE
urgency_slots      min
accounting_summary TRUE
qsort_args         NONE
"""
QUEUE = """
qname                 all.q
hostlist              NONE
seq_no                0
load_thresholds       NONE
suspend_thresholds    NONE
nsuspend              1
suspend_interval      00:05:00
priority              0
min_cpu_interval      00:05:00
processors            UNDEFINED
qtype                 BATCH INTERACTIVE
ckpt_list             NONE
pe_list               smp mpi
rerun                 FALSE
slots                 1
tmpdir                /tmp
shell                 /bin/sh
prolog                NONE
epilog                NONE
shell_start_mode      posix_compliant
starter_method        NONE
suspend_method        NONE
resume_method         NONE
terminate_method      NONE
notify                00:00:05
owner_list            NONE
user_lists            NONE
xuser_lists           NONE
subordinate_list      NONE
complex_values        NONE
projects              NONE
xprojects             NONE
calendar              NONE
initial_state         default
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.systems.sge", description="A real Grid Engine in a folder.")
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args(argv)
    engine = GridEngine(asked.folder)
    if asked.action == "down":
        engine.stop()
        return
    engine.start()
    for name, value in engine.environment.items():
        print(f"export {name}={value}")


if __name__ == "__main__":
    main()
