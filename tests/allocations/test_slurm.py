"""An allocation on a real Slurm: its steps are steps of Slurm, started by srun in a job that is held."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_hpc import Command, ExecutionProfile, JobFailed, JobState, SlurmTarget
from dagster_hpc.engine.runner import Runner
from tests.allocations.place import WITHIN_S, Place
from tests.allocations.test_cli import hpc
from tests.systems.slurm import SlurmCluster

pytestmark = pytest.mark.needs("slurm")
TARGET = SlurmTarget(poll_interval=0.5, accounting_delay=3.0)

PROFILE = ExecutionProfile(num_nodes=2, mpiprocs=2, walltime="00:03:00", memory_per_node="400M")


@pytest.fixture
def place(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Two nodes with two cores each."""
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    made = Place(tmp_path, TARGET, profile=PROFILE)
    yield made
    made.engine.cancel([row.handle() for row in made.engine.ledger.jobs(live=True) if row.name != "allocation"])
    made.eventually(made.is_given_back)


def steps_in_accounting(slurm: SlurmCluster, job_id: str) -> list[str]:
    """The numbered steps of this job, as Slurm itself has counted them."""
    said = slurm.run(["sacct", "-j", job_id, "--noheader", "--parsable2", "--format=JobID"]).stdout.split()
    return [step for step in said if step.partition(".")[2].isdigit()]


def test_steps_are_steps_of_one_job_on_all_of_its_nodes(place: Place, slurm: SlurmCluster) -> None:
    script = Command.shell('echo "$SLURMD_NODENAME $SLURM_JOB_ID"; sleep 1')
    results = place.hpc.map(script, [[str(number)] for number in range(8)], profile="step")

    assert {result.state for result in results} == {JobState.COMPLETED}
    (held,) = place.held
    assert {result.stdout_tail.split()[1] for result in results} == {held.job_id}
    assert {result.stdout_tail.split()[0] for result in results} == set(slurm.nodes[:2])
    place.eventually(lambda: len(steps_in_accounting(slurm, held.job_id or "")) == 8)


def test_the_ranks_of_a_step_are_started_by_srun(place: Place) -> None:
    result = place.hpc.run(Command.shell("echo $SLURM_PROCID of $SLURM_NTASKS"), profile="mpi",
                           overrides={"num_nodes": 2})  # fmt: skip

    assert sorted(result.stdout_tail.splitlines()) == [f"{rank} of 4" for rank in range(4)]


def test_slurms_own_figures_of_steps_come_into_the_ledger(place: Place, slurm: SlurmCluster) -> None:
    works = place.counted('exec python3 -c "import time; x = bytearray(60 << 20)\nwhile time.process_time() < 2.5: pass"')
    alone = place.hpc.map(works, [["a"], ["b"]], profile="step")
    ranks = place.hpc.run(works, args=["c"], profile="mpi")
    short = place.hpc.run(place.counted(), args=["d"], profile="step")
    stopped = place.hpc.submit(place.counted("exec sleep 100"), args=["e"], profile="step")
    place.eventually(lambda: "e" in place.ran)
    place.hpc.cancel(stopped)
    place.hpc.wait_all([stopped])

    handles = [result.handle for result in (*alone, ranks, short)] + [stopped]
    a, b, c, d, e = (row.metrics for row in place.accounted([handle.token for handle in handles]))

    assert all(2.5 <= (step.cpu_time_s or 0.0) < 4.0 for step in (a, b))
    assert 5.0 <= (c.cpu_time_s or 0.0) < 8.0  # both ranks
    assert all(60 < (step.max_rss_mib or 0.0) < 120 for step in (a, b, c))
    assert all(step.node_list in slurm.nodes for step in (a, b, c, d, e))
    assert d.max_rss_mib is None  # Slurm did not look at it
    assert e.cpu_time_s is None  # of what is killed Slurm counts only a part
    assert {step.raw["JobID"].partition(".")[0] for step in (a, b, c, d, e)} == {place.held[0].job_id}


def test_whoever_refreshes_takes_in_the_figures_of_steps(place: Place) -> None:
    step = place.hpc.run(place.counted("for n in {1..99999}; do :; done"), args=["a"], profile="step").handle

    def cpu_time_s() -> float | None:
        hpc(place, "jobs", "--refresh")
        return place.engine.ledger.job(step.token).metrics.cpu_time_s

    deadline = time.monotonic() + WITHIN_S
    while cpu_time_s() is None:
        assert time.monotonic() < deadline
        time.sleep(1)


def test_a_step_has_its_own_exit_code(place: Place) -> None:
    with pytest.raises(JobFailed) as caught:
        place.hpc.run(Command.shell("echo complained >&2; exit 3"), profile="step")

    assert caught.value.result.exit_code == 3
    assert "complained" in caught.value.result.stderr_tail


def test_a_step_of_slurm_is_cancelled_alone(place: Place) -> None:
    one, other = (place.hpc.submit(place.counted("sleep 6"), profile="step", args=[name]) for name in "ab")
    place.eventually(lambda: place.ran == ["a", "b"])

    place.hpc.cancel(one)
    results = place.hpc.wait_all([one, other])

    assert [result.state for result in results] == [JobState.CANCELLED, JobState.COMPLETED]
    assert len(place.held) == 1


def test_an_allocation_whose_time_is_up_is_followed_by_another(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    place = Place(tmp_path, TARGET, profile=ExecutionProfile(mpiprocs=2, walltime="00:01:00"))
    results = place.hpc.map(
        place.counted("sleep 8"), [[str(number)] for number in range(14)], profile="step",
        overrides={"walltime": "00:00:20"},
    )  # fmt: skip

    assert {result.state for result in results} == {JobState.COMPLETED}
    assert place.ran == sorted(str(number) for number in range(14))  # each once
    assert len(place.held) >= 2
    place.eventually(place.is_given_back)
    assert {row.state for row in place.held} == {JobState.COMPLETED}  # drained, not killed
    jobs = {row.token: row.job_id for row in place.held}
    steps = [row.metrics.raw for row in place.accounted([result.handle.token for result in results])]
    assert all(raw["JobID"].partition(".")[0] == jobs[raw["holder"].partition(".")[0]] for raw in steps)


def test_what_ran_in_an_allocation_that_slurm_ended_has_timed_out(place: Place, slurm: SlurmCluster) -> None:
    running = [place.hpc.submit(place.counted("exec sleep 100"), profile="step", args=[name],
                                overrides={"walltime": "00:02:00"}) for name in "abcd"]  # fmt: skip
    waiting = place.hpc.submit(place.counted(), profile="step", args=["e"])
    place.eventually(lambda: place.ran == ["a", "b", "c", "d"])
    slurm.expire(place.held[0].job_id or "")

    results = place.hpc.wait_all([*running, waiting])

    assert [result.state for result in results] == [*4 * [JobState.TIMEOUT], JobState.COMPLETED]
    assert all("its allocation, job" in result.reason for result in results[:4])
    assert place.ran == ["a", "b", "c", "d", "e"]


def test_steps_on_a_node_that_slurm_told_first_have_ended_with_their_allocation(place: Place, slurm: SlurmCluster) -> None:
    running = [place.hpc.submit(place.counted("exec sleep 100"), profile="step", args=[name],
                                overrides={"walltime": "00:02:00"}) for name in "abcd"]  # fmt: skip
    waiting = place.hpc.submit(place.counted(), profile="step", args=["e"])
    place.eventually(lambda: place.ran == ["a", "b", "c", "d"])
    job_id = place.held[0].job_id or ""
    with slurm.deaf_node(slurm.run(["squeue", "--noheader", "--format=%B", f"--jobs={job_id}"]).stdout.strip()):
        slurm.run(["scancel", job_id])
        place.eventually(lambda: sum((Path(one.work_dir) / ".job" / "exit_code").exists() for one in running) == 2)
        time.sleep(1)

    results = place.hpc.wait_all([*running, waiting])

    assert [result.state for result in results] == [*4 * [JobState.CANCELLED], JobState.COMPLETED]
    assert place.ran == ["a", "b", "c", "d", "e"]


def test_a_killed_client_finds_its_steps_on_slurm_again(place: Place, slurm: SlurmCluster) -> None:
    program = f"""
        from pathlib import Path
        from tests.allocations.test_slurm import Place, PROFILE, TARGET
        place = Place(Path({str(place.folder)!r}), TARGET, profile=PROFILE)
        place.hpc.map(place.counted("sleep 1"), [[str(n)] for n in range(12)], profile="step", key="sweep")
    """
    client = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    place.eventually(lambda: len(place.ran) > 2)
    client.kill()
    client.wait()

    results = place.hpc.map(place.counted("sleep 1"), [[str(n)] for n in range(12)], profile="step", key="sweep")

    assert {result.state for result in results} == {JobState.COMPLETED}
    assert place.ran == sorted(str(n) for n in range(12))  # each once
    (held,) = place.held
    place.eventually(lambda: len(steps_in_accounting(slurm, held.job_id or "")) == 12)


def test_a_cancelled_job_that_holds_the_allocation_ends_its_steps(place: Place) -> None:
    handle = place.hpc.submit(place.counted("sleep 100"), profile="step", args=["a"])
    place.eventually(lambda: place.ran == ["a"])

    Runner(TARGET.engine_target(), place.engine.ledger).cancel([place.held[0].handle()])
    (result,) = place.hpc.wait_all([handle])

    assert result.state is JobState.CANCELLED
    assert place.ran == ["a"]
