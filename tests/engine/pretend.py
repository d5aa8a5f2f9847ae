"""A Slurm of files: real scheduler class, real ledger, real job directories, pretended sbatch, squeue and sacct.

It counts the commands of all processes that share it, and misbehaves in ways that no real cluster can be made to.
"""

from __future__ import annotations

import fcntl
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.process import new_owner
from dagster_hpc.engine.schedulers import to_json
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.target import Listener, Patience, Target

TARGET = "slurm@lab"
WHEN = "2026-11-20T07:00:00"
NO_SUCH_JOB = "slurm_load_jobs error: Invalid job id specified"
LOST_REPLY = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
FULL = "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates …"
REFUSED = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"


def quick(**more: float) -> Patience:
    """A patience that tests have."""
    values = {"recheck_s": 0.01, "capacity_retry_s": 0.01, "unavailable_s": 5.0, "file_delay_s": 0.2,
              "accounting_delay_s": 0.2, "cancel_s": 10.0}  # fmt: skip
    return Patience(**{**values, **more})


@dataclass
class PretendSlurm(LocalHost):
    """`jobs` says what is in the queue; `asked` lists all commands so far."""

    folder: Path
    accounting: bool = True
    down: dict[str, str] = field(default_factory=dict)  # program → its complaint
    missing: bool = False
    submissions: list[str] = field(default_factory=list)  # what becomes of the next: taken, lost, full, refused, …
    before_submit: Callable[[], None] = lambda: None
    now: Callable[[], float] = time.time
    cluster: str = "lab"

    def __post_init__(self) -> None:
        super().__init__()
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def jobs(self) -> dict[str, dict[str, str]]:
        file = self.folder / "jobs.json"
        return json.loads(file.read_text()) if file.exists() else {}  # type: ignore[no-any-return]

    def put(
        self, job_id: str, name: str, state: str = "RUNNING", reason: str = "None", code: str = "0:0", start: str = WHEN
    ) -> str:
        """Let this be so of a job; of a new one if no id is given. Its id."""
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            job = {"name": name, "state": state, "reason": reason, "code": code, "start": start}
            jobs = self.jobs
            job_id = job_id or str(100 + len(jobs))
            (self.folder / "jobs.tmp").write_text(json.dumps({**jobs, job_id: job}))
            (self.folder / "jobs.tmp").rename(self.folder / "jobs.json")
            return job_id

    def end(self, row: JobRow, code: int = 0, state: str = "") -> None:
        """The job's script has run to its end, and Slurm knows."""
        self.leave_exit_code(row, code)
        self.put(row.job_id or "", self.jobs[row.job_id or ""]["name"], state or ("FAILED" if code else "COMPLETED"))

    def forget(self, job_id: str) -> None:
        """Neither queue nor accounting knows this job any more."""
        jobs = self.jobs
        del jobs[job_id]
        (self.folder / "jobs.json").write_text(json.dumps(jobs))

    def leave_exit_code(self, row: JobRow, code: int = 0) -> None:
        folder = Path(row.work_dir) / ".job"
        folder.mkdir(parents=True, exist_ok=True)
        now = self.now()
        (folder / "started").write_text(f"{now - 1} {row.job_id} node1\n")
        (folder / "exit_code").write_text(f"{code} {now}\n")

    @property
    def asked(self) -> list[list[str]]:
        """All but the questions for the cluster's name and for room, which are asked rarely."""
        file = self.folder / "log"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [argv for argv in lines if "job" in argv or argv[0] not in ("scontrol", "sacctmgr")]

    def count(self, program: str) -> int:
        return sum(argv[0] == program for argv in self.asked)

    def run(self, call: Call) -> Answer:
        with (self.folder / "log").open("a") as log:
            log.write(json.dumps(call.argv) + "\n")
        program = call.argv[0]
        if self.missing:
            raise FileNotFoundError(2, "No such file or directory", program)
        if program in self.down:
            return Answer(call.argv, 1, "", self.down[program])
        code, out, err = getattr(self, f"_{program}")(list(call.argv))
        return Answer(call.argv, code, out, err)

    def _sbatch(self, argv: list[str]) -> tuple[int | None, str, str]:
        self.before_submit()
        fate = self.submissions.pop(0) if self.submissions else "taken"
        if fate in ("taken", "lost", "hangs", "silent"):
            script = Path(argv[-1]).read_text()
            match = re.search(r"#SBATCH --job-name=(\S+)", script)
            job_id = self.put("", match[1] if match else "", "PENDING", "Priority")
        return {
            "taken": lambda: (0, f"{job_id}\n", ""),
            "lost": lambda: (1, "", LOST_REPLY),
            "not taken": lambda: (1, "", LOST_REPLY),
            "hangs": lambda: (None, "", ""),
            "silent": lambda: (0, "", ""),
            "full": lambda: (1, "", FULL),
            "refused": lambda: (1, "", REFUSED),
        }[fate]()

    def _known(self, argv: list[str]) -> dict[str, dict[str, str]]:
        name = next((word.partition("=")[2] for word in argv if word.startswith("--name=")), None)
        if name is not None:
            return {job_id: job for job_id, job in self.jobs.items() if job["name"] == name}
        asked = argv[argv.index("-j") + 1].split(",")
        return {job_id: job for job_id, job in self.jobs.items() if {job_id, job_id.partition("_")[0]} & set(asked)}

    def _squeue(self, argv: list[str]) -> tuple[int, str, str]:
        jobs = self._known(argv)
        if "%F|%j" in argv:
            return 0, "".join(f"{job_id}|{job['name']}\n" for job_id, job in jobs.items()), ""
        if not jobs and "," not in argv[argv.index("-j") + 1]:
            return 1, "", NO_SUCH_JOB
        lines = [
            f"{job_id}|{job['state']}|{job['reason']}|{WHEN}|{job['start']}|{WHEN}|1|1|node1|{job['name']}\n"
            for job_id, job in jobs.items()
        ]
        return 0, "".join(lines), ""

    def _sacct(self, argv: list[str]) -> tuple[int, str, str]:
        if not self.accounting:
            return 1, "", "Slurm accounting storage is disabled"
        if "-X" in argv:
            return 0, "".join(f"{job_id}|{job['name']}\n" for job_id, job in self._known(argv).items()), ""
        lines = [
            f"{job_id}|{job['state']}|{job['code']}|{job['reason']}|{WHEN}|{WHEN}|{job['start']}|{WHEN}|5|1|1|node1|00:01.000|"
            f"00:01.000|00:00:00||||||cpu=1|100M|0:0||lab|{job['name']}\n"
            for job_id, job in self._known(argv).items()
        ]
        return 0, "".join(lines), ""

    def _scontrol(self, argv: list[str]) -> tuple[int, str, str]:
        if "config" in argv:
            return 0, f"ClusterName             = {self.cluster}\n", ""
        job = self.jobs.get(argv[-1])
        if job is None:
            return 1, "", NO_SUCH_JOB
        return 0, f"JobId={argv[-1]} JobName={job['name']} JobState={job['state']} Reason={job['reason']}\n", ""

    def _sacctmgr(self, argv: list[str]) -> tuple[int, str, str]:
        return 1, "", "sacctmgr: error: this database tells nobody of its limits"

    def _scancel(self, argv: list[str]) -> tuple[int, str, str]:
        for job_id in argv[1:]:
            if job_id in self.jobs:
                self.put(job_id, self.jobs[job_id]["name"], "CANCELLED by 0")
        return 0, "", ""


def target_on(host: PretendSlurm, poll_interval_s: float = 10.0, patience: Patience | None = None) -> Target:
    patience = patience or quick()
    return Target("slurm", Slurm(), host, poll_interval_s=poll_interval_s, cluster="lab", patience=patience)


def put_job(host: PretendSlurm, ledger: Ledger, number: int, *, state: str = "RUNNING", reason: str = "None") -> JobRow:
    """A submitted job, in the ledger and in the queue."""
    token, job_id = f"job{number:05d}", str(1000 + number)
    work_dir = host.folder / "work" / token
    (work_dir / ".job").mkdir(parents=True)
    owner = new_owner()
    row = JobRow(token, token, "x", TARGET, to_json(Slurm()), str(work_dir), JobState.SUBMITTING,
                 created_at=time.time() - 60, owner=owner, cluster="lab")  # fmt: skip
    ledger.claims.claim([row], room=None)
    ledger.claims.begin_attempt(token, owner)
    ledger.claims.submitted({token: job_id}, owner, TARGET, poll_within_s=2.0)
    host.put(job_id, f"x_{token}", state, reason)
    return ledger.job(token)


def eventually(is_so: Callable[[], object], within_s: float = 30.0) -> None:
    """Ask again and again until the answer is yes."""
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.01)


@dataclass
class Heard:
    """What a listener was told."""

    states: list[tuple[JobState, str]] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def listener(self) -> Listener:
        return Listener(
            on_state=lambda handle, state, reason: self.states.append((state, reason)),
            on_output=lambda handle, stream, line: self.lines.append((stream, line)),
            on_warning=self.warnings.append,
        )
