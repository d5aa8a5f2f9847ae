"""A job that stops before its walltime ends, and goes on in the same directory until it is finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_hpc import Command, ConfigurationError, HPCJobRunner, JobFailed, JobState, Resume, RetryRule

STEPS = 25
COUNTING = f"""
trap 'exit 85' USR1
n=$(cat checkpoint 2>/dev/null || echo 0)
echo from $n
while [ $n -lt {STEPS} ]; do n=$((n + 1)); echo $n >checkpoint; sleep 0.1; done
echo $n >result.txt
"""
WARNED = {"walltime": "3", "signal_before_end": "USR1@2"}


def test_it_goes_on_where_it_stopped_until_it_is_done(hpc: HPCJobRunner) -> None:
    result = hpc.run(
        Command.shell(COUNTING), profile="small", overrides=WARNED, resume=Resume(exit_code=85), outputs={"n": "result.txt"}
    )
    first, *others = result.attempts
    assert len(others) >= 1
    assert Path(result.outputs["n"]).read_text() == f"{STEPS}\n"
    assert Path(result.outputs["n"]).parent == Path(first.directory) == Path(result.handle.work_dir)
    assert result.stdout_tail != "from 0"
    assert [one.exit_code for one in result.attempts] == [*[85] * len(others), 0]


def test_it_is_one_job_with_the_sum_of_its_cost(hpc: HPCJobRunner) -> None:
    result = hpc.run(Command.shell(COUNTING), profile="small", overrides=WARNED, resume=Resume(exit_code=85))
    each = [one.metrics for one in result.attempts]
    assert result.metrics.elapsed_s == pytest.approx(sum(one.elapsed_s or 0.0 for one in each))
    assert result.metrics.node_hours == pytest.approx(sum(one.node_hours or 0.0 for one in each))
    assert result.metrics.max_rss_mib == max(one.max_rss_mib or 0.0 for one in each)
    assert (result.metrics.started_at, result.metrics.ended_at) == (each[0].started_at, each[-1].ended_at)


def test_a_program_that_gets_nowhere_is_resumed_so_many_times(hpc: HPCJobRunner) -> None:
    with pytest.raises(JobFailed, match="not resumed again") as failed:
        hpc.run(Command.shell("exit 85"), profile="small", overrides=WARNED, resume=Resume(exit_code=85, most=2))
    assert len(failed.value.result.attempts) == 3


def test_a_retry_of_what_is_resumed_goes_on_in_its_directory_too(hpc: HPCJobRunner) -> None:
    """What ran into its walltime all the same has a checkpoint there."""
    stops = "n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) >n; [ $n = 0 ] && sleep 60; [ $n = 1 ] && exit 85; cat n"
    result = hpc.run(
        Command.shell(stops), profile="small", overrides={"walltime": "2", "signal_before_end": "USR2@1"},
        resume=Resume(exit_code=85), retry=[RetryRule(on=["TIMEOUT"], walltime=2)],
    )  # fmt: skip
    assert [one.state for one in result.attempts] == [JobState.TIMEOUT, JobState.FAILED, JobState.COMPLETED]
    assert result.stdout_tail == "3"


def test_elements_of_an_array_are_resumed_each_in_its_own_directory(hpc: HPCJobRunner) -> None:
    counts = "echo x >>../seen; n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) >n; [ $n -ge $1 ] || exit 85; cat n"
    results = hpc.map(
        Command.shell(counts), [["0"], ["1"], ["2"]], profile="small", overrides=WARNED, resume=Resume(exit_code=85),
        outputs={"n": "n"},
    )  # fmt: skip
    assert [result.stdout_tail for result in results] == ["1", "2", "3"]
    assert [Path(result.outputs["n"]).parent.name for result in results] == ["0", "1", "2"]
    assert Path(results[0].handle.work_dir, "..", "seen").read_text().count("x") == 6


def test_the_programs_own_directory_is_named_in_its_environment(hpc: HPCJobRunner) -> None:
    tells = 'echo "$HPC_JOB_DIR"; [ -e mark ] || { touch mark; exit 85; }'
    result = hpc.run(Command.shell(tells), profile="small", overrides=WARNED, resume=Resume(exit_code=85))
    assert result.stdout_tail == result.attempts[0].directory


def test_a_job_that_nobody_warns_is_refused_before_anything_is_submitted(hpc: HPCJobRunner) -> None:
    with pytest.raises(ConfigurationError, match="nothing tells it that its walltime ends"):
        hpc.run(Command.shell("true"), profile="small", resume=Resume(exit_code=85))
    assert hpc.jobs() == []
