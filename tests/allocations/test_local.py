"""An allocation on this machine: real steps in a real job of the embedded scheduler."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_hpc import (
    Allocation,
    Command,
    ConfigurationError,
    ExecutionProfile,
    FluxTarget,
    HPCJobRunner,
    HPCTarget,
    JobFailed,
    JobState,
    LocalTarget,
    PBSTarget,
    SlurmTarget,
    WaitTimeout,
)
from dagster_hpc.engine.runner import Runner
from tests.allocations.place import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.hpc._engine().cancel([row.handle() for row in made.engine.ledger.jobs(live=True) if row.name != "allocation"])
    made.eventually(made.is_given_back)


def test_many_steps_wait_for_one_job(place: Place) -> None:
    results = place.hpc.map(place.counted(), [[str(number)] for number in range(12)], profile="step")
    alone = place.hpc.run(Command("/bin/echo", args=["good day"]), profile="step")

    assert {result.state for result in results} == {JobState.COMPLETED}
    assert place.ran == sorted(str(number) for number in range(12))
    assert alone.stdout_tail == "good day"
    assert [row.name for row in place.held] == ["allocation"]


def test_a_step_has_an_exit_code_logs_and_figures_as_a_job_has(place: Place) -> None:
    with pytest.raises(JobFailed) as caught:
        place.hpc.run(Command.shell("echo said; echo complained >&2; exit 3"), profile="step")

    result = caught.value.result
    assert (result.exit_code, result.stdout_tail, result.stderr_tail) == (3, "said", "complained")
    metrics = result.metrics
    assert metrics.cores == 1
    assert None not in (metrics.max_rss_mib, metrics.cpu_time_s, metrics.queue_wait_s, metrics.elapsed_s)


def test_a_step_that_runs_into_its_walltime_ends_alone(place: Place) -> None:
    slow = place.hpc.submit(Command("/bin/sleep", args=["300"]), profile="step", overrides={"walltime": "00:00:02"})
    other = place.hpc.submit(Command("/bin/sleep", args=["4"]), profile="step")

    assert [result.state for result in place.hpc.wait_all([slow, other])] == [JobState.TIMEOUT, JobState.COMPLETED]
    assert len(place.held) == 1


def test_a_step_is_cancelled_while_it_waits_and_while_it_runs(place: Place) -> None:
    runs, also = (place.hpc.submit(place.counted("exec sleep 300"), profile="step", args=[name]) for name in "ab")
    waits = place.hpc.submit(place.counted(), profile="step", args=["c"])
    place.eventually(lambda: place.ran == ["a", "b"])

    for handle in (waits, runs):
        place.hpc.cancel(handle)
    results = place.hpc.wait_all([runs, waits])

    assert [result.state for result in results] == [JobState.CANCELLED, JobState.CANCELLED]
    assert place.engine.ledger.job(also.token).state is JobState.RUNNING
    assert place.ran == ["a", "b"]
    place.hpc.cancel(also)


def test_two_ranks_of_mpi_are_one_step(place: Place) -> None:
    if shutil.which("mpirun") is None:
        pytest.skip("there is no mpirun here")
    result = place.hpc.run(Command.shell("echo rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE"), profile="mpi")

    assert sorted(result.stdout_tail.splitlines()) == ["rank 0 of 2", "rank 1 of 2"]


def test_an_allocation_without_steps_is_given_back(place: Place) -> None:
    place.hpc.run(place.counted(), profile="step")

    place.eventually(place.is_given_back)
    (held,) = place.held
    assert (held.state, held.exit_code) == (JobState.COMPLETED, 0)


def test_steps_that_find_no_time_any_more_run_in_the_next_allocation(tmp_path: Path) -> None:
    place = Place(tmp_path, profile=ExecutionProfile(mpiprocs=2, walltime="00:00:25"))
    results = place.hpc.map(
        place.counted("sleep 4"), [[str(number)] for number in range(10)], profile="step",
        overrides={"walltime": "00:00:12"},
    )  # fmt: skip

    assert {result.state for result in results} == {JobState.COMPLETED}
    assert place.ran == sorted(str(number) for number in range(10))  # each once
    assert len(place.held) >= 2
    place.eventually(place.is_given_back)


def test_what_ran_in_an_allocation_that_is_cancelled_has_ended_and_what_waited_goes_on(place: Place) -> None:
    running = [place.hpc.submit(place.counted("[ -e go ] || exec sleep 300"), profile="step", args=[name]) for name in "ab"]
    waiting = place.hpc.submit(place.counted(), profile="step", args=["c"])
    place.eventually(lambda: place.ran == ["a", "b"])

    first = place.held[0]
    Runner(place.inside.engine_target(), place.engine.ledger).cancel([first.handle()])
    results = place.hpc.wait_all([*running, waiting])

    assert [result.state for result in results] == [JobState.CANCELLED, JobState.CANCELLED, JobState.COMPLETED]
    assert all(f"its allocation, job {first.job_id}, ended: CANCELLED" in result.reason for result in results[:2])
    assert place.ran == ["a", "b", "c"]
    assert len(place.held) == 2


def test_a_step_that_hears_of_the_end_before_its_holder_has_ended_with_its_allocation(place: Place) -> None:
    """Who ends a job of many nodes signals them one after another, and no step may begin meanwhile in what ends."""
    running = place.hpc.submit(place.counted("[ -e go ] || kill -TERM $$"), profile="step", args=["a"],
                               overrides={"ompthreads": 2})  # fmt: skip
    waiting = place.hpc.submit(place.counted(), profile="step", args=["b"])
    place.eventually(lambda: (Path(running.work_dir) / ".job" / "exit_code").exists())

    first = place.held[0]
    Runner(place.inside.engine_target(), place.engine.ledger).cancel([first.handle()])
    results = place.hpc.wait_all([running, waiting])

    assert [result.state for result in results] == [JobState.CANCELLED, JobState.COMPLETED]
    assert f"its allocation, job {first.job_id}, ended: CANCELLED" in results[0].reason
    assert len(place.held) == 2


def test_a_client_that_is_killed_finds_its_steps_again(place: Place) -> None:
    program = f"""
        from pathlib import Path
        from tests.allocations.place import Place
        place = Place(Path({str(place.folder)!r}))
        place.hpc.map(place.counted("sleep 1"), [[str(n)] for n in range(6)], profile="step", key="sweep")
    """
    client = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    place.eventually(lambda: place.ran)
    client.kill()
    client.wait()

    results = place.hpc.map(place.counted("sleep 1"), [[str(n)] for n in range(6)], profile="step", key="sweep")

    assert {result.state for result in results} == {JobState.COMPLETED}
    assert place.ran == [str(n) for n in range(6)]  # each once
    assert len(place.held) == 1


def test_steps_fail_with_the_reason_when_their_allocation_cannot_be_had(tmp_path: Path) -> None:
    place = Place(tmp_path, python="/no/such/python")
    with pytest.raises(JobFailed, match=r"its allocation ended 2 times before it took a step.*exit code 127"):
        place.hpc.run(place.counted(), profile="step")

    assert len(place.held) == 2
    assert place.ran == []


def test_a_waiting_step_says_which_job_it_waits_for(tmp_path: Path) -> None:
    place = Place(tmp_path)
    blocker = HPCJobRunner(
        target=place.inside, profiles={"all": ExecutionProfile(mpiprocs=2, launcher="mpirun")},
        work_root=str(tmp_path / "work"), ledger_url=f"sqlite:///{tmp_path}/ledger.db",
    )  # fmt: skip
    busy = blocker.submit(Command.shell("exec sleep 300"), profile="all", overrides={"launcher": "single", "mpiprocs": 1,
                                                                                     "ompthreads": 2})  # fmt: skip
    handle = place.hpc.submit(place.counted(), profile="step")
    with pytest.raises(WaitTimeout):
        place.hpc.wait(handle, timeout=3)
    place.eventually(lambda: "PENDING" in place.engine.ledger.job(handle.token).reason)

    reason = place.engine.ledger.job(handle.token).reason
    assert reason.startswith(f"waits for its allocation, job {place.held[0].job_id} (PENDING")
    blocker.cancel(busy)
    assert place.hpc.wait(handle).succeeded
    place.eventually(place.is_given_back)


def test_all_that_no_allocation_could_serve_is_told_at_once(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        place.hpc.run(
            Command("/bin/true"), profile="step",
            overrides={"walltime": "00:02:00", "ompthreads": 3, "qos": "high", "directives": ["#SBATCH -C fast"]},
        )  # fmt: skip

    told = str(caught.value)
    for words in ("takes none above 00:01:30", "3 cores on each node, and its allocation has 2", "a quality of service",
                  "directives are for a scheduler"):  # fmt: skip
        assert words in told
    assert place.held == []


@pytest.mark.parametrize(("inside", "launcher"), [(SlurmTarget(), "mpirun"), (PBSTarget(), "srun"), (FluxTarget(), "srun")])
def test_a_launcher_that_is_not_that_of_the_allocation_is_refused(inside: HPCTarget, launcher: str) -> None:
    hpc = HPCJobRunner(
        target=Allocation(inside=inside, folder="/scratch/steps", profile=ExecutionProfile(mpiprocs=2, walltime="01:00:00")),
        profiles={"step": ExecutionProfile()}, work_root="/scratch",
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match=f"launcher '{launcher}'.*: choose"):
        hpc.render(Command("/bin/x"), profile="step", overrides={"launcher": launcher})


def test_several_nodes_need_a_launcher_that_finds_room_among_them() -> None:
    several = ExecutionProfile(num_nodes=2, walltime="01:00:00")
    assert "Flux or HyperQueue" in Allocation(inside=PBSTarget(), profile=several).faults("cpu")[0]
    assert Allocation(inside=LocalTarget(), profile=several).faults("cpu") == []
    assert "queue_cpu" in Allocation(inside=SlurmTarget(), profile=several, queue_cpu="fast").faults("cpu")[0]
