"""A result is owed until it is received: by a step that has succeeded, or by the script that it was returned to."""


import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import Command, HPCJobRunner, JobState, hpc_asset
from dagster_hpc.engine.ledger import Ledger

COUNTED = 'echo ran >>"$1"; echo 42 >out.txt'


def runs(traces: Path) -> int:
    return len(traces.read_text().split()) if traces.exists() else 0


def test_a_step_that_died_after_its_job_takes_the_finished_job(hpc: HPCJobRunner, tmp_path: Path) -> None:
    traces, faults = tmp_path / "traces", [True]

    @hpc_asset(profile="small", collect=lambda result: 1 / 0 if faults else "fine")
    def counted() -> Command:
        return Command.shell(COUNTED, args=[str(traces)])

    with dg.DagsterInstance.ephemeral() as instance:
        failed = dg.materialize([counted], resources={"hpc": hpc}, instance=instance, raise_on_error=False)
        assert not failed.success
        faults.clear()
        assert dg.materialize([counted], resources={"hpc": hpc}, instance=instance).success
        assert runs(traces) == 1  # the same finished job
        assert dg.materialize([counted], resources={"hpc": hpc}, instance=instance).success
    assert runs(traces) == 2  # the result had been delivered: materializing it again is new work


def test_where_dagster_does_not_know_the_run_the_ledgers_own_note_counts(hpc: HPCJobRunner, tmp_path: Path) -> None:
    traces = tmp_path / "traces"

    @hpc_asset(profile="small", collect=lambda result: 1 / 0)
    def counted() -> Command:
        return Command.shell(COUNTED, args=[str(traces)])

    for _ in range(2):  # each in an instance that has never heard of the other's run
        dg.materialize([counted], resources={"hpc": hpc}, raise_on_error=False)
    assert runs(traces) == 2


def test_a_plain_script_has_its_result_when_it_is_returned(hpc: HPCJobRunner, tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    for _ in range(2):
        hpc.run(Command.shell(COUNTED, args=[str(traces)]), profile="small", key="mine")
    assert runs(traces) == 2


def test_a_job_that_somebody_else_saw_end_is_taken_by_the_retry(hpc: HPCJobRunner, tmp_path: Path) -> None:
    """8 of 24 jobs ran twice: any other process that polled recorded the end, and the end released the identity."""
    traces, url = tmp_path / "traces", hpc.ledger_url or ""
    command = Command.shell(COUNTED, args=[str(traces)])
    handle = hpc.submit(command, profile="small", key="mine")  # and this process dies here
    poll = [sys.executable, "-m", "dagster_hpc.cli", "--ledger", url, "jobs", "--refresh"]
    ledger = Ledger(url)
    while not ledger.job(handle.token).state.is_final:
        subprocess.run(poll, check=True, capture_output=True)
        time.sleep(0.2)
    result = hpc.run(command, profile="small", key="mine")
    assert (result.handle.token, result.handle.joined, runs(traces)) == (handle.token, True, 1)


def test_elements_that_ended_well_are_not_run_again_with_those_that_failed(hpc: HPCJobRunner, tmp_path: Path) -> None:
    traces, broken = tmp_path / "traces", tmp_path / "broken"
    broken.touch()
    command = Command.shell(f'echo ran >>{traces}.$1; [ "$1" != b ] || [ ! -e {broken} ]')

    @dg.op
    def sweep(context: dg.OpExecutionContext, hpc: HPCJobRunner) -> None:
        for result in hpc.map(command, [["a"], ["b"], ["c"]], profile="small", context=context):
            result.raise_for_state()

    @dg.job(resource_defs={"hpc": hpc})
    def study() -> None:
        sweep()

    with dg.DagsterInstance.ephemeral() as instance:
        assert not study.execute_in_process(instance=instance, raise_on_error=False).success
        broken.unlink()
        assert study.execute_in_process(instance=instance).success
    assert [runs(tmp_path / f"traces.{name}") for name in "abc"] == [1, 2, 1]


def test_equal_ops_of_two_dagster_jobs_are_two_jobs(hpc: HPCJobRunner) -> None:
    @dg.op
    def draw(context: dg.OpExecutionContext, hpc: HPCJobRunner) -> str:
        return hpc.submit(Command("/bin/true"), profile="small", context=context).token

    @dg.job(resource_defs={"hpc": hpc})
    def study_a() -> None:
        draw()

    @dg.job(resource_defs={"hpc": hpc})
    def study_b() -> None:
        draw()

    tokens = {study.execute_in_process().output_for_node("draw") for study in (study_a, study_b)}
    assert len(tokens) == 2


MAPPED = """
import dagster as dg
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget

hpc = HPCJobRunner(
    target=LocalTarget(spool={spool!r}, poll_interval=0.3), profiles={{"small": ExecutionProfile()}},
    work_root={work!r}, ledger_url={ledger!r},
)

@dg.op(out=dg.DynamicOut(int))
def fan():
    for index in range(3):
        yield dg.DynamicOutput(index, mapping_key=str(index))

@dg.op
def monte_carlo(context: dg.OpExecutionContext, index: int, hpc: HPCJobRunner) -> None:
    hpc.run(Command.shell("sleep 1; echo $RANDOM", name="mc"), profile="small", context=context)

@dg.job(resource_defs={{"hpc": hpc}}, executor_def=dg.multiprocess_executor.configured({{"max_concurrent": 3}}))
def study():
    fan().map(monte_carlo)

if __name__ == "__main__":
    with dg.DagsterInstance.local_temp({home!r}) as instance:
        assert dg.execute_job(dg.reconstructable(study), instance=instance).success
"""


def test_mapped_steps_in_processes_of_their_own_are_jobs_of_their_own(hpc: HPCJobRunner, tmp_path: Path) -> None:
    """Three equal samples, run green: the mapping key was no part of the identity, and every process counted from 0."""
    (tmp_path / "home").mkdir()
    target = hpc.target
    spool = getattr(target, "spool", "")
    text = MAPPED.format(spool=spool, work=hpc.work_root, ledger=hpc.ledger_url, home=str(tmp_path / "home"))
    (tmp_path / "mapped.py").write_text(text)
    done = subprocess.run([sys.executable, "mapped.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len({row.job_id for row in hpc.jobs(state=JobState.COMPLETED)}) == 3


JOINER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget
hpc = HPCJobRunner(
    target=LocalTarget(spool={spool!r}, poll_interval=0.3), profiles={{"small": ExecutionProfile()}},
    work_root={work!r}, ledger_url={ledger!r},
)
handle = hpc.submit(Command.shell({script!r}), profile="small", key="mine")
print("joined" if handle.joined else "submitted", flush=True)
hpc.wait(handle)
"""


def test_who_only_joined_a_job_does_not_cancel_it(hpc: HPCJobRunner, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    script = f"while [ ! -e {stop} ]; do sleep 0.1; done"
    handle = hpc.submit(Command.shell(script), profile="small", key="mine")
    text = JOINER.format(spool=hpc.target.spool, work=hpc.work_root, ledger=hpc.ledger_url, script=script)  # type: ignore[attr-defined]
    joiner = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert joiner.stdout is not None
    assert joiner.stdout.readline() == "joined\n"
    joiner.send_signal(signal.SIGINT)
    joiner.communicate(timeout=60)
    stop.touch()
    assert hpc.wait(handle).state is JobState.COMPLETED


@pytest.mark.parametrize("processes", [6])
def test_no_more_jobs_are_live_than_the_target_takes_whoever_submits(
    hpc: HPCJobRunner, tmp_path: Path, processes: int
) -> None:
    text = f"""
import sys
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget
hpc = HPCJobRunner(
    target=LocalTarget(spool={hpc.target.spool!r}, poll_interval=0.3, max_jobs=2, cores=8),
    profiles={{"small": ExecutionProfile()}}, work_root={hpc.work_root!r}, ledger_url={hpc.ledger_url!r},
)
hpc.submit(Command.shell("sleep 0.5"), profile="small")
"""  # type: ignore[attr-defined]
    ledger = Ledger(hpc.ledger_url)
    clients = [subprocess.Popen([sys.executable, "-c", text], env=dict(os.environ)) for _ in range(processes)]
    most, deadline = 0, time.monotonic() + 120
    waiter = HPCJobRunner(
        target=hpc.target.model_copy(update={"max_jobs": 2}), profiles=hpc.profiles, work_root=hpc.work_root,
        ledger_url=hpc.ledger_url,
    )  # fmt: skip
    while time.monotonic() < deadline:
        states = [row.state for row in ledger.jobs()]
        most = max(most, sum(not state.is_final and state is not JobState.READY for state in states))
        if len(states) == processes and all(state.is_final for state in states):
            break
        waiter._engine().tick()  # whoever polls submits what waits: those who asked for it are gone
        time.sleep(0.02)
    for client in clients:
        client.wait(timeout=60)
    assert most <= 2
    assert [row.state for row in ledger.jobs()] == [JobState.COMPLETED] * processes
