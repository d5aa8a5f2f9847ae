"""RUN: jobs from a plain script, without any Dagster, on this machine."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dagster_hpc import (
    Command,
    ConfigurationError,
    ExecutionProfile,
    HPCJobRunner,
    JobCancelled,
    JobFailed,
    JobHandle,
    JobState,
    OutputMissing,
    SlurmTarget,
    WaitTimeout,
)
from dagster_hpc.engine.target import Patience

HELLO = Command.shell('echo hello "$@"')
FOREVER = Command.shell("sleep 600", name="forever")


def test_a_command_is_run_and_its_result_tells_all(hpc: HPCJobRunner) -> None:
    result = hpc.run(
        Command("python", args=["-c", "print(open('in.txt').read()); open('out.txt', 'w').write('42')"]),
        profile="small",
        inputs={"in.txt": "0110"},
        outputs={"answer": "out.txt"},
    )
    assert (result.state, result.exit_code, result.stdout_tail) == (JobState.COMPLETED, 0, "0110")
    assert Path(result.outputs["answer"]).read_text() == "42"
    assert (result.metrics.nodes, result.metrics.cores) == (1, 1)
    assert None not in (result.metrics.elapsed_s, result.metrics.max_rss_mib, result.metrics.cpu_time_s)


def test_default_and_user_arguments_come_in_order(hpc: HPCJobRunner) -> None:
    command = Command.shell('printf "%s|" "$@"', args=["a b", "c"])
    assert hpc.run(command, profile="small", args=["d", ""]).stdout_tail == "a b|c|d||"


def test_a_job_that_fails_is_an_error_with_its_result_and_last_words(hpc: HPCJobRunner) -> None:
    # the predecessor returned, and its caller built an artifact of nothing
    with pytest.raises(JobFailed, match="ended as FAILED with exit code 3") as failed:
        hpc.run(Command.shell("echo trouble >&2; exit 3"), profile="small")
    assert "trouble" in str(failed.value)
    assert failed.value.result.exit_code == 3


def test_a_killed_program_is_told_by_its_signal(hpc: HPCJobRunner) -> None:
    with pytest.raises(JobFailed, match="SIGSEGV"):
        hpc.run(Command.shell("kill -SEGV $$"), profile="small")


def test_a_missing_output_is_an_error_that_names_it(hpc: HPCJobRunner) -> None:
    hpc._patience = Patience(file_delay_s=0.2)
    with pytest.raises(OutputMissing) as failed:
        hpc.run(HELLO, profile="small", outputs={"answer": "out.txt"})
    assert failed.value.missing == ["answer (out.txt)"]
    assert hpc.jobs()[0].state is JobState.FAILED


def test_submit_returns_a_handle_that_another_runner_can_wait_for(hpc: HPCJobRunner) -> None:
    handle = hpc.submit(HELLO, profile="small", args=["you"])
    other = HPCJobRunner(target=hpc.target, profiles=hpc.profiles, work_root=hpc.work_root, ledger_url=hpc.ledger_url)
    assert other.wait(handle).stdout_tail == "hello you"


def test_a_given_up_wait_carries_a_handle_that_works(hpc: HPCJobRunner, tmp_path: Path) -> None:
    # the predecessor's timeout left a job without a handle, logs or metrics
    go = tmp_path / "go"
    command = Command.shell('until [ -e "$1" ]; do sleep 0.02; done; echo done', args=[str(go)])
    with pytest.raises(WaitTimeout) as given_up:
        hpc.run(command, profile="small", timeout=0.2)
    go.touch()
    assert hpc.wait(given_up.value.handle).stdout_tail == "done"


def test_identical_requests_without_a_key_are_jobs_of_their_own(hpc: HPCJobRunner) -> None:
    handles = [hpc.submit(HELLO, profile="small") for _ in range(3)]
    assert len({handle.job_id for handle in handles}) == 3
    assert all(hpc.wait(handle).succeeded for handle in handles)


def test_the_same_key_joins_the_live_job(hpc: HPCJobRunner) -> None:
    first = hpc.submit(FOREVER, profile="small", key="mine")
    second = hpc.submit(FOREVER, profile="small", key="mine")
    other = hpc.submit(FOREVER, profile="small", key="yours")
    assert (second.token, second.joined, first.joined) == (first.token, True, False)
    assert other.token != first.token


def test_the_same_key_for_other_work_is_another_job(hpc: HPCJobRunner) -> None:
    first = hpc.submit(FOREVER, profile="small", key="mine")
    second = hpc.submit(FOREVER, profile="small", key="mine", inputs={"a": "new content"})
    assert second.token != first.token


def test_a_finished_job_is_returned_as_it_is_while_its_outputs_exist(hpc: HPCJobRunner, tmp_path: Path) -> None:
    counting = Command.shell('echo ran >>"$1"; echo 42 >out.txt', args=[str(tmp_path / "runs")])

    def again() -> Path:
        result = hpc.run(counting, profile="small", outputs={"a": "out.txt"}, key="mine", reuse="succeeded")
        return Path(result.outputs["a"])

    first, second = again(), again()
    assert first == second
    second.unlink()
    assert again() != first
    assert (tmp_path / "runs").read_text() == "ran\n" * 2


def test_a_list_of_arguments_is_one_array_job_in_their_order(hpc: HPCJobRunner) -> None:
    command = Command.shell('cat ../shared.txt; echo "$1"; [ "$1" != bad ]')
    results = hpc.map(
        command, [["a b"], ["bad"], ["$(c)"]], profile="small", inputs={"shared.txt": "same "}, max_running=2
    )
    assert [result.stdout_tail for result in results] == ["same a b", "same bad", "same $(c)"]
    assert [result.state for result in results] == [JobState.COMPLETED, JobState.FAILED, JobState.COMPLETED]
    assert [result.index for result in results] == [0, 1, 2]
    ids = {(result.handle.job_id or "").partition("_")[0] for result in results}
    assert len(ids) == 1


def test_an_empty_list_is_no_job(hpc: HPCJobRunner) -> None:
    assert hpc.map(HELLO, [], profile="small") == []
    assert hpc.jobs() == []


def test_render_shows_the_very_script_and_does_nothing(hpc: HPCJobRunner) -> None:
    rendered = hpc.render(HELLO, profile="small", args=["you"])
    assert hpc.jobs() == []
    assert not Path(hpc.work_root).exists()
    handle = hpc.submit(HELLO, profile="small", args=["you"])
    hpc.wait(handle)
    submitted = Path(handle.work_dir, ".job", "script.sh").read_text()
    assert rendered == submitted.replace(handle.token, "0" * 8)


def test_render_needs_no_scheduler(tmp_path: Path) -> None:
    there = HPCJobRunner(target=SlurmTarget(queue_cpu="regular"), work_root="/scratch/me")
    script = there.render(Command("/bin/app"), profile=ExecutionProfile(num_nodes=2, launcher="srun"))
    assert "#SBATCH --partition=regular\n" in script
    assert "#SBATCH --nodes=2\n" in script


def test_a_job_can_be_cancelled(hpc: HPCJobRunner) -> None:
    handle = hpc.submit(FOREVER, profile="small")
    hpc.cancel(handle)
    with pytest.raises(JobCancelled):
        hpc.wait(handle)
    hpc.cancel(handle)  # once more does no harm


def test_jobs_lists_what_is_in_the_ledger_newest_first(hpc: HPCJobRunner) -> None:
    first = hpc.submit(HELLO, profile="small")
    hpc.wait(first)
    second = hpc.submit(FOREVER, profile="small")
    assert [row.token for row in hpc.jobs()] == [second.token, first.token]
    assert [row.token for row in hpc.jobs(live=True)] == [second.token]
    assert [row.token for row in hpc.jobs(state=JobState.COMPLETED)] == [first.token]
    assert len(hpc.jobs(limit=1)) == 1


@pytest.mark.parametrize(
    ("profile", "overrides", "words"),
    [
        ("smal", {}, "there is no execution profile 'smal': did you mean 'small'?"),
        ("small", {"waltime": "1h"}, "did you mean 'walltime'?"),
        ("small", {"walltime": "soon"}, "walltime 'soon'"),
        ("wide", {}, "launcher 'single' starts one process, but 2 ranks"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_written(
    hpc: HPCJobRunner, profile: str, overrides: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        hpc.run(HELLO, profile=profile, overrides=overrides)
    assert words in str(refused.value)
    assert hpc.jobs() == []


def test_overrides_reach_the_job(hpc: HPCJobRunner) -> None:
    result = hpc.run(
        Command.shell('echo "$WORD $OMP_NUM_THREADS"'),
        profile="small",
        overrides={"environments": {"WORD": "it's"}, "ompthreads": 1},
    )
    assert result.stdout_tail == "it's 1"


def test_a_profile_need_not_have_a_name(hpc: HPCJobRunner) -> None:
    assert hpc.run(HELLO, profile=ExecutionProfile(walltime="60")).succeeded


def test_work_root_may_hold_variables(hpc: HPCJobRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    there = HPCJobRunner(target=hpc.target, profiles=hpc.profiles, work_root="$SCRATCH/jobs", ledger_url=hpc.ledger_url)
    assert there.run(HELLO, profile="small").handle.work_dir.startswith(f"{tmp_path}/scratch/jobs/")


def test_the_job_is_named_after_command_or_script(hpc: HPCJobRunner) -> None:
    named = re.compile(r"--job-name=|--name=(\S+)")
    names = [
        named.search(hpc.render(command, profile="small"))
        for command in (Command("python"), Command("/apps/Dice"), Command.shell("true"), Command("python", name="mine"))
    ]
    assert [(match or [None, None])[1] for match in names] == [
        "python_00000000", "Dice_00000000", "shell_00000000", "mine_00000000",
    ]  # fmt: skip


@contextmanager
def interrupted() -> Iterator[None]:
    """Ctrl-C in half a second, and again after a while: one that comes within a callback of Python's own is lost."""
    over = threading.Event()

    def press() -> None:
        pause = 0.5
        while not over.wait(pause):
            os.kill(os.getpid(), signal.SIGINT)
            pause = 30.0

    finger = threading.Thread(target=press)
    finger.start()
    try:
        yield
    finally:
        over.set()
        finger.join()


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_a_plain_script_cancels_the_job(hpc: HPCJobRunner) -> None:
    # the predecessor swallowed the cancellation and reported exit status 0
    handles: list[JobHandle] = [hpc.submit(FOREVER, profile="small")]
    with pytest.raises(KeyboardInterrupt), interrupted():
        hpc.wait(handles[0])
    assert hpc.jobs()[0].state is JobState.CANCELLED


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_leaves_the_job_where_that_was_chosen(hpc: HPCJobRunner) -> None:
    detached = hpc.model_copy(update={"on_interrupt": "detach"})
    handle = detached.submit(FOREVER, profile="small")
    with pytest.raises(KeyboardInterrupt), interrupted():
        detached.wait(handle)
    assert not hpc.jobs()[0].state.is_final
