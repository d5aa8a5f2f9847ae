"""slurmctld or slurmdbd away for a while, or never there: jobs go on, and whoever waits learns how they ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import Command, JobCancelled, JobFailed, JobResult, JobState, SchedulerUnavailable
from tests.faults.place import (
    PLAIN,
    QUICK,
    Place,
    eventually,
    failed,
    materialize,
    metadata_of,
    over,
    run_failing,
    told,
    warnings,
)

pytestmark = pytest.mark.needs("slurm")

ACCOUNTS_S = QUICK.accounting_delay_s + 10  # a bound for the wait when the accounting never answers


def until(file: Path) -> str:
    return f"while [ ! -e {file} ]; do sleep 0.1; done"


@contextmanager
def without_controller(place: Place) -> Iterator[None]:
    assert place.cluster
    place.cluster.stop_controller()
    try:
        yield
    finally:
        place.cluster.start_controller()


@contextmanager
def without_accounting(place: Place) -> Iterator[None]:
    assert place.cluster
    place.cluster.stop_accounting()
    try:
        yield
    finally:
        place.cluster.start_accounting()


# ---------------------------------------------------------------------- slurmctld


def test_jobs_outlive_the_controller(on_slurm: Place) -> None:
    """One ends while it is away, one after it is back, one fails meanwhile; each run hears of it once."""
    instances = {name: dg.DagsterInstance.ephemeral() for name in ("meanwhile", "after", "failing")}
    gates = {name: on_slurm.folder / name for name in instances}
    codes = {"meanwhile": 0, "after": 0, "failing": 3}
    runs = {
        name: on_slurm.meanwhile(
            materialize,
            on_slurm,
            Command.shell(f"echo ran >>{on_slurm.folder}/ran\n{until(gates[name])}\nexit {codes[name]}", name=name),
            instance=instance,
        )
        for name, instance in instances.items()
    }
    ran = on_slurm.folder / "ran"
    eventually(lambda: ran.exists() and len(ran.read_text()) == 3 * len("ran\n"), "all jobs run")
    eventually(lambda: all(row.state is JobState.RUNNING for row in on_slurm.rows()), "all are seen to run")
    with without_controller(on_slurm):
        eventually(lambda: any(warned(instance) for instance in instances.values()), "somebody hears of the outage")
        gates["meanwhile"].touch()
        gates["failing"].touch()
        for row in on_slurm.rows():
            if row.name != "after":
                eventually(Path(row.work_dir, ".job", "exit_code").exists, f"{row.name} ends")
    gates["after"].touch()
    states = {name: metadata_of(runs[name].result(timeout=90))["state"] for name in ("meanwhile", "after")}
    with pytest.raises(dg.Failure) as failure:
        runs["failing"].result(timeout=90)
    assert isinstance(failure.value.__cause__, JobFailed)
    assert failure.value.__cause__.result.exit_code == 3
    assert states == {"meanwhile": "COMPLETED", "after": "COMPLETED"}
    assert {row.name: row.state for row in on_slurm.rows()} == {
        "meanwhile": "COMPLETED", "after": "COMPLETED", "failing": "FAILED",
    }  # fmt: skip
    assert ran.read_text() == "ran\n" * 3
    assert len(on_slurm.submitted()) == 3
    for instance in instances.values():
        assert len(warned(instance)) <= 1


def warned(instance: dg.DagsterInstance) -> list[str]:
    return [words for words in warnings(instance) if "cannot be asked just now" in words]


def test_a_job_is_submitted_once_however_long_the_controller_is_away(on_slurm: Place) -> None:
    """One caller has the patience to wait for it. The other has not: its next attempt settles what it left open."""
    patient, impatient = (
        Command.shell(f"echo ran >>{on_slurm.folder}/{name}", name=name) for name in ("patient", "impatient")
    )
    instance = dg.DagsterInstance.ephemeral()
    hasty = on_slurm.runner(patience=replace(QUICK, unavailable_s=1.0))
    hasty._engine().identify()  # the other one has yet to be told which cluster this is
    with without_controller(on_slurm):
        run = on_slurm.meanwhile(materialize, on_slurm, patient, instance=instance)
        error = run_failing(lambda: hasty.run(impatient, profile=PLAIN, key="k"), SchedulerUnavailable)
        eventually(lambda: any("which cluster it is" in words for words in warnings(instance)), "the patient one is told")
    (row,) = [row for row in on_slurm.rows() if row.name == "impatient"]
    told(error, row)
    assert "Unable to contact slurm controller" in str(error)
    assert (row.state, row.job_id) == (JobState.SUBMITTING, None)
    again = on_slurm.runner().run(impatient, profile=PLAIN, key="k")
    assert again.succeeded
    assert again.handle.token == row.token
    assert run.result(timeout=90).success
    assert {row.state for row in on_slurm.rows()} == {JobState.COMPLETED}
    assert len(on_slurm.rows()) == len(on_slurm.submitted()) == 2
    for name in ("patient", "impatient"):
        assert (on_slurm.folder / name).read_text() == "ran\n"


# ---------------------------------------------------------------------- slurmdbd


def test_jobs_that_end_while_the_accounting_is_down(on_slurm: Place) -> None:
    """The figures then come from the queue and from the jobs' own files."""
    go = on_slurm.folder / "go"
    hpc = on_slurm.runner()
    busy = "for i in $(seq 200000); do :; done"
    good = hpc.submit(Command.shell(f"{until(go)}; {busy}", name="good"), profile=PLAIN)
    bad = hpc.submit(Command.shell(f"{until(go)}; exit 3", name="bad"), profile=PLAIN)
    runs = [on_slurm.meanwhile(hpc.wait, good), on_slurm.meanwhile(run_failing, lambda: hpc.wait(bad), JobFailed)]
    eventually(lambda: all(row.state is JobState.RUNNING for row in on_slurm.rows()), "both run")
    with without_accounting(on_slurm):
        go.touch()
        began = time.monotonic()
        result = runs[0].result(timeout=90)
        error = runs[1].result(timeout=90)
        took_s = time.monotonic() - began
    assert took_s < ACCOUNTS_S
    assert isinstance(result, JobResult)
    assert result.state is JobState.COMPLETED
    assert (error.result.state, error.result.exit_code) == (JobState.FAILED, 3)
    for metrics in (result.metrics, error.result.metrics):
        assert metrics.elapsed_s is not None
        assert metrics.cpu_time_s is not None
        assert metrics.cores
        assert metrics.node_list
    over(on_slurm, good.token, JobState.COMPLETED)
    over(on_slurm, bad.token, JobState.FAILED)


# ---------------------------------------------------------------------- no accounting at all


def test_without_accounting_success_and_figures(on_bare_slurm: Place) -> None:
    metadata = metadata_of(materialize(on_bare_slurm, Command.shell("sleep 1")))
    assert metadata["state"] == "COMPLETED"
    assert metadata["elapsed_s"] >= 1
    assert metadata["cpu_time_s"] is not None
    assert metadata["cores"] == metadata["nodes"] == 1
    over(on_bare_slurm, on_bare_slurm.only_row().token, JobState.COMPLETED)


def test_without_accounting_failure(on_bare_slurm: Place) -> None:
    with pytest.raises(dg.Failure) as caught:
        materialize(on_bare_slurm, Command.shell("echo last words >&2; exit 3"))
    seen = failed(on_bare_slurm, caught.value, JobFailed, JobState.FAILED)
    assert seen.metadata["exit_code"] == 3
    assert seen.metadata["elapsed_s"] is not None
    assert "last words" in seen.metadata["stderr_tail"]


def test_without_accounting_killed_whole(on_bare_slurm: Place) -> None:
    with pytest.raises(dg.Failure) as caught:
        materialize(on_bare_slurm, Command.shell("kill -KILL 0; sleep 100"))
    seen = failed(on_bare_slurm, caught.value, JobFailed, JobState.FAILED)
    assert seen.result.exit_code is None
    assert seen.metadata["elapsed_s"] is not None


@pytest.mark.parametrize("held", [False, True])
def test_without_accounting_cancelled(on_bare_slurm: Place, held: bool) -> None:
    hpc = on_bare_slurm.runner(profile={"directives": ["#SBATCH --hold"]} if held else {})
    handle = hpc.submit(Command.shell("sleep 100"), profile=PLAIN)
    waiting = on_bare_slurm.meanwhile(run_failing, lambda: hpc.wait(handle), JobCancelled)
    row = on_bare_slurm.wait_for_state("HELD" if held else "RUNNING")
    on_bare_slurm.cancel_outside(row.job_id or "")
    error = waiting.result(timeout=90)
    told(error, row)
    assert (error.result.metrics.elapsed_s is None) == held
    over(on_bare_slurm, row.token, JobState.CANCELLED)
