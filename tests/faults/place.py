"""One place to run jobs, local or Slurm: the same words for both, so that one test holds for both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import pytest
from pydantic import PrivateAttr

from dagster_hpc import (
    Command,
    ExecutionProfile,
    HPCError,
    HPCJobRunner,
    HPCTarget,
    JobResult,
    JobState,
    LocalTarget,
    SlurmTarget,
    hpc_asset,
    job_metadata,
)
from dagster_hpc.engine.job import JobFailed, JobHandle
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.target import Patience
from dagster_hpc.local_batch import spool
from tests.local_batch.system import Batch
from tests.systems.needs import REPOSITORY
from tests.systems.slurm import SlurmCluster

T = TypeVar("T")

WITHIN_S = 90.0  # for anything to happen, on a loaded machine
QUICK = Patience(
    recheck_s=0.5,
    capacity_retry_s=0.5,
    unavailable_s=90.0,
    slowest_poll_s=1.0,
    file_delay_s=0.5,
    stuck_after_s=1.0,
)
PLAIN = "plain"
ALL_KEYS = set(job_metadata(JobResult(JobHandle("t", None, "/", "x"), JobState.FAILED)))


def eventually(look: Callable[[], T | None], what: str = "it", within: float = WITHIN_S) -> T:
    """Ask again and again until the answer is true."""
    deadline = time.monotonic() + within
    while not (answer := look()):
        assert time.monotonic() < deadline, f"{what}: not within {within} s"
        time.sleep(0.02)
    return answer


class PatientRunner(HPCJobRunner):
    """A runner whose patience survives Dagster, which makes resources anew from their configuration."""

    patience: dict[str, float | None] = {}

    _patience: Patience = PrivateAttr(default_factory=Patience)

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        self._patience = Patience(**self.patience)


@dataclass(frozen=True)
class Failed:
    """How a materialization failed, with all that a user learns of it."""

    failure: dg.Failure
    error: HPCError
    row: JobRow

    @property
    def text(self) -> str:
        return str(self.error)

    @property
    def result(self) -> JobResult:
        assert isinstance(self.error, JobFailed)
        return self.error.result

    @property
    def metadata(self) -> dict[str, Any]:
        return {name: value.value for name, value in self.failure.metadata.items()}


@dataclass
class Place:
    """Jobs of one test, on one target. `kind` and `folder` are all that another process needs to be in it too."""

    kind: str
    folder: Path
    cluster: SlurmCluster | None = None
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

    # ------------------------------------------------------------------ runners

    def target(self, **options: Any) -> HPCTarget:
        if self.kind == "local":
            return LocalTarget(**{"spool": str(self.folder / "spool"), "poll_interval": 0.5, **options})
        return SlurmTarget(**{"name": f"slurm {self.folder}", "poll_interval": 0.5, **options})

    def runner(
        self,
        *,
        patience: Patience = QUICK,
        target: Mapping[str, Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> PatientRunner:
        return PatientRunner(
            target=self.target(**(target or {})),
            profiles={PLAIN: ExecutionProfile(**{"walltime": "10m", **(profile or {})})},
            patience=asdict(patience),
            **{"work_root": str(self.folder / "work"), **options},
        )

    # ------------------------------------------------------------------ what became of it

    @property
    def ledger(self) -> Ledger:
        return Ledger()

    def rows(self, **wanted: Any) -> list[JobRow]:
        ledger = self.ledger
        try:
            return ledger.jobs(**wanted)
        finally:
            ledger.close()

    def only_row(self) -> JobRow:
        (row,) = self.rows()
        return row

    def submitted(self) -> list[str]:
        """The ids of all jobs that the scheduler has had of this test, live or not."""
        names = {row.batch for row in self.rows()}
        if self.kind == "local":
            jobs = Batch(self.folder).query("--name", *self._job_names()) if self._job_names() else []
            return sorted({str(job["array_id"]) for job in jobs}, key=int)
        said = self.slurm("squeue", "-h", "-t", "all", "-o", "%F|%j").stdout
        found = (line.split("|") for line in said.splitlines())
        return sorted({job_id for job_id, name in found if name.rpartition("_")[2] in names}, key=int)

    def _job_names(self) -> list[str]:
        return sorted({f"{row.name}_{row.batch}" for row in self.rows()})

    def wait_for_state(self, *states: str, job_id: str | None = None) -> JobRow:
        """Until the ledger says so; somebody has to be waiting for the job, or nobody asks the scheduler."""
        return eventually(
            lambda: next(
                (row for row in self.rows() if row.state in states and job_id in (None, row.job_id) and row.job_id),
                None,
            ),
            f"a job becomes {' or '.join(states)}",
        )

    # ------------------------------------------------------------------ from outside

    def slurm(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        assert self.cluster is not None
        return self.cluster.run(argv, check=check)

    def cancel_outside(self, job_id: str) -> None:
        """As the owner would at the command line."""
        if self.kind == "local":
            assert Batch(self.folder).run("cancel", job_id).returncode == 0
        else:
            self.slurm("scancel", job_id)

    def keep_waiting(self) -> dict[str, Any]:
        """Options of a runner whose jobs wait until `let_go`: held on Slurm, behind another job on this machine."""
        if self.kind == "slurm":
            return {"profile": {"directives": ["#SBATCH --hold"]}}
        one_core = {"target": {"cores": 1}}
        hpc = self.runner(**one_core)
        hpc.run(Command("/bin/true"), profile=PLAIN)  # tells the scheduler how many cores there are
        Batch(self.folder).submit(f"while [ ! -e {self.folder}/let_go ]; do sleep 0.05; done", "cores=1")
        return one_core

    def let_go(self, job_id: str | None) -> None:
        if self.kind == "slurm":
            self.slurm("scontrol", "release", job_id or "")
        (self.folder / "let_go").touch()

    # ------------------------------------------------------------------ at the same time

    def meanwhile(self, function: Callable[..., T], *args: Any, **options: Any) -> Future[T]:
        return self._threads.submit(function, *args, **options)

    def client(self, **wishes: Any) -> Client:
        """Another process that runs or materializes; see `client.py`."""
        return Client(self, wishes)

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """No job and no daemon of this test outlives it."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self.kind == "local":
            self._close_local()
        else:
            live = [row.job_id.partition("_")[0] for row in self.rows(live=True) if row.job_id]
            for job_id in {*live, *self.submitted()}:
                self.slurm("scancel", job_id, check=False)

    def _close_local(self) -> None:
        batch = Batch(self.folder)
        if spool.exists(batch.spool):
            live = [each["id"] for each in batch.query()]
            if live:
                batch.run("cancel", *live)
                eventually(lambda: not batch.query(), "the jobs end")
        for daemon in batch.daemons():
            os.kill(daemon, signal.SIGTERM)
        eventually(lambda: not batch.keepers(), "the daemon ends")


class Client:
    """A Python of its own that can be killed."""

    def __init__(self, place: Place, wishes: Mapping[str, Any]) -> None:
        self.asked = json.dumps({"kind": place.kind, "folder": str(place.folder), **wishes})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.client", self.asked],
            cwd=REPOSITORY,
            env=os.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Python, and the submit command that it may be running."""
        os.killpg(self.process.pid, number)
        self.process.communicate(timeout=WITHIN_S)

    def answer(self) -> dict[str, Any]:
        stdout, stderr = self.process.communicate(timeout=WITHIN_S)
        assert self.process.returncode == 0, stderr[-5000:]
        answer: dict[str, Any] = json.loads(stdout.splitlines()[-1])
        return answer

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


# ---------------------------------------------------------------------- an asset, and how it fails


def asset_of(command: Command, **options: Any) -> dg.AssetsDefinition:
    @hpc_asset(name="subject", **{"profile": PLAIN, **options})
    def subject() -> Command:
        return command

    return subject


def materialize(
    place: Place,
    command: Command,
    *,
    runner: HPCJobRunner | None = None,
    instance: dg.DagsterInstance | None = None,
    **options: Any,
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [asset_of(command, **options)], resources={"hpc": runner or place.runner()}, instance=instance
    )


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node("subject")
    return {name: value.value for name, value in event.metadata.items()}


def warnings(instance: dg.DagsterInstance) -> list[str]:
    """What the runs have warned of, in their event logs."""
    logs = [entry for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]
    return [entry.user_message for entry in logs if entry.level == 30]


def fails(
    place: Place,
    command: Command,
    error: type[HPCError],
    state: JobState,
    *,
    runner: HPCJobRunner | None = None,
    **options: Any,
) -> Failed:
    """Materialize what must fail, and check what holds for every failure; the rest is for the test to check."""
    try:
        materialize(place, command, runner=runner, **options)
    except dg.Failure as failure:
        return failed(place, failure, error, state)
    raise AssertionError(f"materialized, though a {error.__name__} was to come")


def failed(place: Place, failure: dg.Failure, error: type[HPCError], state: JobState) -> Failed:
    cause = failure.__cause__
    assert type(cause) is error, repr(cause)
    row = place.rows()[0]
    told(cause, row)
    over(place, row.token, state)
    seen = Failed(failure, cause, row)
    assert failure.description == str(cause)
    if isinstance(cause, JobFailed):
        assert set(failure.metadata) == ALL_KEYS
        assert seen.metadata["state"] == cause.result.state == state
        assert seen.metadata["work_dir"] == row.work_dir
        assert seen.metadata["job_id"] == (row.job_id or "")
        for line in cause.result.stderr_tail.splitlines():
            assert line in seen.metadata["stderr_tail"]
    else:
        assert seen.metadata["work_dir"] == row.work_dir
        assert failure.allow_retries is False
    return seen


def told(error: HPCError, row: JobRow) -> None:
    """It says where, and what to do."""
    assert f"Work directory: {row.work_dir}" in str(error)
    assert "What to do: " in str(error)


def over(place: Place, token: str, state: JobState) -> None:
    """The ledger knows how it ended, and nothing of this test is live, there or in the scheduler's eyes."""
    (row,) = [row for row in place.rows() if row.token == token]
    assert row.state is state
    assert place.rows(live=True) == []


def nothing_submitted(place: Place) -> None:
    assert place.rows() == []
    assert not (place.folder / "work").exists()


def run_failing(function: Callable[[], object], error: type[HPCError]) -> Any:
    """The error itself, outside Dagster."""
    with pytest.raises(error) as caught:
        function()
    assert type(caught.value) is error
    return caught.value


def commands_first(place: Place, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Put these shell scripts in front of the scheduler's own commands, under their names."""
    folder = place.folder / "bin"
    folder.mkdir(exist_ok=True)
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
