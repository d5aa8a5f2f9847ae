"""`dagster-hpc explain`, on the embedded scheduler, on a real Slurm and a real Grid Engine."""

from __future__ import annotations

import pytest

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget, SGETarget, SlurmTarget
from dagster_hpc.engine.job import JobState
from tests.cli.terminal import Terminal, eventually, row
from tests.systems.sge import GridEngine
from tests.systems.slurm import SlurmCluster

SLEEP = Command.shell("sleep 60", name="sleeper")


@pytest.fixture
def one_core(terminal: Terminal) -> Terminal:
    """A terminal whose machine has one core."""
    target = LocalTarget(name="laptop", spool=str(terminal.folder / "spool"), cores=1)
    terminal.hpc = HPCJobRunner(
        target=target,
        profiles={"small": ExecutionProfile(memory_per_node="64M", walltime="00:10:00")},
        work_root=str(terminal.folder / "work"),
        ledger_url=terminal.url,
    )
    return terminal


def test_a_waiting_job_names_the_jobs_before_it(one_core: Terminal) -> None:
    first = one_core.hpc.submit(SLEEP, profile="small")
    second = one_core.hpc.submit(Command.shell("true", name="second"), profile="small")

    page = one_core.run("explain", second.token).stdout

    assert "second: PENDING" in page
    assert "waits for 1 core, 0 free" in page
    assert f"job {first.job_id} (sleeper_{first.token}) runs on 1 core" in page
    assert "by the profile 'small'" in page


def test_without_asking_only_the_ledger_is_read(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh", state=JobState.PENDING, job_id="7", reason="waits its turn (Priority)"))

    done = terminal.run("explain", "7", "--no-ask")

    assert (done.returncode, done.stderr) == (0, "")
    assert "It waits its turn (Priority)." in done.stdout
    assert "sprio -j 7" in done.stdout


def test_a_failed_job_shows_its_last_words_and_what_they_mean(terminal: Terminal) -> None:
    handle = terminal.hpc.submit(Command.shell("no-such-program", name="oops"), profile="small")
    terminal.run("logs", "-f", handle.token)

    page = terminal.run("explain", handle.token).stdout

    assert "It ended as FAILED with exit code 127" in page
    assert "no-such-program" in page
    assert "executable_map" in page


def test_elements_of_an_array_that_fare_alike_are_explained_together(terminal: Terminal) -> None:
    results = terminal.hpc.map(Command.shell("exit $1", name="arr"), [["0"], ["3"], ["3"]], profile="small")
    batch = results[0].handle.token.partition(".")[0]

    told = terminal.json("explain", batch)["elements"]

    assert [(one["state"], len(one.get("tokens", [1]))) for one in told] == [("FAILED", 2), ("COMPLETED", 1)]
    assert "and 1 more like it" in terminal.run("explain", batch).stdout


def test_a_scheduler_that_cannot_be_asked_is_a_warning(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(terminal.folder))
    terminal.keep(row("abcdefgh", state=JobState.PENDING, job_id="7", reason="waits its turn (Priority)"))

    done = terminal.run("explain", "7")

    assert done.returncode == 0
    assert "warning:" in done.stderr
    assert "(Priority)" in done.stdout


# -- real systems


@pytest.mark.needs("slurm")
def test_slurm_says_when_it_expects_to_start_a_job(
    terminal: Terminal, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    profiles = {"all": ExecutionProfile(memory_per_node="64M", walltime="00:05:00", exclusive=True)}
    terminal.hpc = HPCJobRunner(
        target=SlurmTarget(queue_cpu="cpu", project_cpu=slurm.account, poll_interval=0.5),
        profiles=profiles,
        work_root=str(terminal.folder / "work"),
        ledger_url=terminal.url,
    )
    handles = [terminal.hpc.submit(SLEEP, profile="all") for _ in range(12)]
    try:
        told = eventually(
            lambda: next((one for one in map(_explained(terminal), handles) if one["starts_at"]), None), within=90
        )
        assert told["state"] == "PENDING"
        assert told["words"][0].startswith("Priority=")
        assert "(Resources)" in told["reason"] or "(Priority)" in told["reason"]
        assert told["remedies"]
    finally:
        for handle in handles:
            terminal.hpc.cancel(handle)


@pytest.mark.needs("sge")
def test_grid_engine_says_why_in_its_own_sentences(
    terminal: Terminal, sge: GridEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sge.environment.items():
        monkeypatch.setenv(name, value)
    terminal.hpc = HPCJobRunner(
        target=SGETarget(queue_cpu="all.q", parallel_environment="smp", poll_interval=0.5, verify=False),
        profiles={"wide": ExecutionProfile(mpiprocs=40, launcher="mpirun", walltime="00:05:00")},
        work_root=str(terminal.folder / "work"),
        ledger_url=terminal.url,
    )
    handle = terminal.hpc.submit(Command("/bin/true"), profile="wide")
    try:
        words = eventually(lambda: terminal.json("explain", handle.token)["words"], within=60)
        # The parallel environment is too small; on a machine under load it does not come as far as that.
        said = ('cannot run in PE "smp" because it only offers', "All queues dropped because of overload or full")
        assert words[-1].startswith(said), words
    finally:
        terminal.hpc.cancel(handle)


def _explained(terminal: Terminal):  # type: ignore[no-untyped-def]
    return lambda handle: terminal.json("explain", handle.token)
