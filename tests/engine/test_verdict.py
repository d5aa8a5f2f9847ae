"""Three witnesses, one verdict. The rows of the decision table, and what must never be concluded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.engine.job import JobMetrics, JobState, JobStatus
from dagster_hpc.engine.ledger import Change, JobRow
from dagster_hpc.engine.observe.sentinel import Sentinel
from dagster_hpc.engine.observe.verdict import Evidence, judge
from dagster_hpc.engine.target import Patience

NOW = 1_700_000_000.0
LONG_AGO = NOW - 100_000
PATIENCE = Patience()
ROW = JobRow("abcd2345", "abcd2345", "x", "slurm", "{}", "/x", JobState.RUNNING, created_at=NOW - 60, job_id="42")
OVER_FOR_LONG = replace(ROW, ending_since=LONG_AGO)  # all graces are over

BEGAN = Sentinel(started_at=NOW - 50, node="node1")
SILENT = Sentinel()


def ended(code: int, **more: object) -> Sentinel:
    return replace(BEGAN, exit_code=code, ended_at=NOW - 1, **more)  # type: ignore[arg-type]


def says(state: JobState, **more: object) -> JobStatus:
    return JobStatus(state, **more)  # type: ignore[arg-type]


def verdict(row: JobRow, sentinel: Sentinel, **evidence: object) -> Change:
    change = judge(row, Evidence(sentinel, **evidence), NOW, PATIENCE)  # type: ignore[arg-type]
    assert change is not None
    return change


# -- the exit_code file is there


@pytest.mark.parametrize("history", [says(JobState.COMPLETED, exit_code=0), None])
def test_exit_code_0_with_a_good_record_or_none_after_the_grace_is_completed(history: JobStatus | None) -> None:
    change = verdict(OVER_FOR_LONG, ended(0), history=history)
    assert (change.state, change.exit_code) == (JobState.COMPLETED, 0)


def test_exit_code_0_without_any_accounting_is_completed_after_the_grace() -> None:
    assert verdict(OVER_FOR_LONG, ended(0), has_history=False).state is JobState.COMPLETED


@pytest.mark.parametrize("history", [says(JobState.FAILED, exit_code=3), says(JobState.COMPLETED), None])
def test_another_exit_code_is_a_failure_with_that_code_whatever_the_records_say(history: JobStatus | None) -> None:
    # the predecessor's job that exited with 3 was a success to it
    change = verdict(OVER_FOR_LONG, ended(3), history=history)
    assert (change.state, change.exit_code) == (JobState.FAILED, 3)
    assert change.reason == "its program ended with exit code 3"


@pytest.mark.parametrize(
    "state", [JobState.TIMEOUT, JobState.OOM, JobState.NODE_FAIL, JobState.PREEMPTED, JobState.CANCELLED]
)
def test_what_the_scheduler_did_to_it_explains_its_exit_code(state: JobState) -> None:
    change = verdict(OVER_FOR_LONG, ended(143, signal="TERM"), history=says(state, reason="why"))
    assert (change.state, change.reason, change.exit_code) == (state, "why", 143)


def test_a_program_that_traps_the_walltimes_signal_and_exits_with_0_still_ran_into_it() -> None:
    # TIMEOUT carries the exit code 0:0, which the predecessor read as success
    assert verdict(OVER_FOR_LONG, ended(0, signal="TERM"), history=says(JobState.TIMEOUT)).state is JobState.TIMEOUT


def test_a_job_that_had_ended_well_before_it_was_called_cancelled_is_completed() -> None:
    # a controller that was restarted may record a job as cancelled that had run to its end
    change = verdict(OVER_FOR_LONG, ended(0), history=says(JobState.CANCELLED))
    assert change.state is JobState.COMPLETED
    assert "CANCELLED" in change.reason


def test_memory_that_ran_out_is_no_success_even_when_the_script_went_on() -> None:
    assert verdict(OVER_FOR_LONG, ended(0), history=says(JobState.OOM)).state is JobState.OOM


def test_a_signal_that_killed_the_program_is_named() -> None:
    assert verdict(OVER_FOR_LONG, ended(139)).reason == "its program was killed by signal 11 (SIGSEGV)"


def test_a_step_of_the_script_that_failed_is_named() -> None:
    change = verdict(OVER_FOR_LONG, ended(1, failure="module load gcc failed with exit code 1"))
    assert (change.state, change.reason) == (JobState.FAILED, "module load gcc failed with exit code 1")


def test_a_failure_that_the_script_did_not_see_is_a_failure() -> None:
    change = verdict(OVER_FOR_LONG, ended(0), history=says(JobState.FAILED, reason="epilogue"))
    assert change.state is JobState.FAILED
    assert "although its script ended with 0" in change.reason


# -- it is not there


@pytest.mark.parametrize(
    "state",
    [JobState.FAILED, JobState.CANCELLED, JobState.TIMEOUT, JobState.OOM, JobState.NODE_FAIL, JobState.PREEMPTED],
)
def test_without_an_exit_code_the_accounting_is_believed(state: JobState) -> None:
    change = verdict(OVER_FOR_LONG, BEGAN, history=says(state, reason="why"))
    assert (change.state, change.reason) == (state, "why")


def test_a_record_of_success_without_an_exit_code_is_no_success() -> None:
    # deleted while queued, killed by a dependency, rejected: all of these "succeeded" in the predecessor
    change = verdict(OVER_FOR_LONG, BEGAN, history=says(JobState.COMPLETED, exit_code=0))
    assert change.state is JobState.FAILED
    assert change.reason == "its script did not run to the end"


def test_a_job_that_never_began_says_so() -> None:
    change = verdict(OVER_FOR_LONG, SILENT, history=says(JobState.CANCELLED, reason="cancelled by user id 0"))
    assert change.reason == "cancelled by user id 0; it never began to run"


def test_a_missing_exit_status_is_never_taken_for_0() -> None:
    # the predecessor's `get("Exit_status", "0")`
    change = verdict(OVER_FOR_LONG, SILENT, history=says(JobState.FAILED))
    assert change.exit_code is None


# -- what proves nothing


def test_a_failed_query_changes_nothing() -> None:
    assert judge(ROW, Evidence(SILENT, asked=False), NOW, PATIENCE) is None
    assert judge(replace(ROW, absent_since=LONG_AGO), Evidence(BEGAN, asked=False), NOW, PATIENCE) is None


@pytest.mark.parametrize("sentinel", [SILENT, BEGAN])
def test_an_absent_job_is_not_finished(sentinel: Sentinel) -> None:
    change = verdict(ROW, sentinel)
    assert (change.state, change.absent_since) == (JobState.RUNNING, NOW)


def test_it_is_lost_only_when_it_was_absent_for_longer_than_the_grace() -> None:
    just_not = replace(ROW, absent_since=NOW - PATIENCE.lost_after_s + 1)
    longer = replace(ROW, absent_since=NOW - PATIENCE.lost_after_s - 1)
    assert verdict(just_not, BEGAN).state is JobState.RUNNING
    change = verdict(longer, BEGAN)
    assert change.state is JobState.LOST
    assert not change.state.is_success


def test_a_job_that_turns_up_again_was_not_absent() -> None:
    change = verdict(replace(ROW, absent_since=NOW - 200), BEGAN, queue=says(JobState.RUNNING))
    assert change.absent_since is None


@pytest.mark.parametrize("source", ["queue", "history"])
def test_unknown_is_never_final(source: str) -> None:
    for row in (ROW, OVER_FOR_LONG, replace(ROW, absent_since=LONG_AGO)):
        change = judge(row, Evidence(BEGAN, **{source: says(JobState.UNKNOWN)}), NOW, PATIENCE)  # type: ignore[arg-type]
        if source == "queue":
            assert change is not None
            assert change.state is JobState.UNKNOWN
        else:
            assert change is None or not change.state.is_success


def test_a_job_in_the_queue_is_what_the_queue_says() -> None:
    change = verdict(ROW, BEGAN, queue=says(JobState.SUSPENDED, reason="suspended"))
    assert (change.state, change.reason) == (JobState.SUSPENDED, "suspended")


def test_a_job_that_is_still_in_its_epilogue_is_not_over_yet() -> None:
    change = verdict(ROW, ended(0), queue=says(JobState.RUNNING))
    assert change.state is JobState.RUNNING


def test_a_queue_that_never_forgets_does_not_hold_up_a_job_that_ended_long_ago() -> None:
    long_ended = replace(ended(0), ended_at=NOW - PATIENCE.epilogue_s - 1)
    change = verdict(OVER_FOR_LONG, long_ended, queue=says(JobState.RUNNING))
    assert change.state is JobState.COMPLETED


# -- graces


def test_the_accounts_of_an_ended_job_are_waited_for() -> None:
    change = verdict(ROW, ended(0), queue=says(JobState.COMPLETED))
    assert (change.state, change.ending_since) == (JobState.RUNNING, NOW)


def test_but_not_for_ever() -> None:
    row = replace(ROW, ending_since=NOW - PATIENCE.accounting_delay_s - 1)
    assert verdict(row, ended(0), queue=says(JobState.COMPLETED)).state is JobState.COMPLETED


def test_and_not_where_there_are_none() -> None:
    assert verdict(ROW, ended(0), queue=says(JobState.COMPLETED), has_history=False).state is JobState.COMPLETED


def test_the_last_file_may_still_be_on_its_way() -> None:
    change = verdict(ROW, BEGAN, history=says(JobState.COMPLETED))
    assert change.state is JobState.RUNNING
    row = replace(ROW, ending_since=NOW - PATIENCE.file_delay_s - 1)
    assert verdict(row, BEGAN, history=says(JobState.COMPLETED)).state is JobState.FAILED


def test_a_job_that_ended_while_the_scheduler_is_away_is_concluded_from_its_own_file_in_the_end() -> None:
    waiting = verdict(replace(ROW, ending_since=NOW - 10), ended(0), asked=False)
    concluded = verdict(replace(ROW, ending_since=NOW - PATIENCE.epilogue_s - 1), ended(0), asked=False)
    assert waiting.state is JobState.RUNNING
    assert concluded.state is JobState.COMPLETED


@pytest.mark.parametrize("code", [0, 143])
def test_an_end_on_demand_is_none_before_the_queue_was_heard(code: int) -> None:
    """A requeue tells the program to end; one that then ends with 0 was called COMPLETED, half done."""
    row = replace(ROW, ending_since=NOW - PATIENCE.epilogue_s - 1)
    told = ended(code, signal="TERM")
    assert verdict(row, told, queue_heard=False).state is JobState.RUNNING
    assert verdict(row, told, queue=says(JobState.PENDING)).state is JobState.PENDING
    assert verdict(row, told).state.is_final


# -- stuck


def test_a_job_that_can_never_start_is_stuck_from_when_it_was_first_seen_so() -> None:
    never = says(JobState.PENDING, stuck=True)
    first = verdict(ROW, SILENT, queue=never)
    later = verdict(replace(ROW, stuck_since=NOW - 30), SILENT, queue=never)
    freed = verdict(replace(ROW, stuck_since=NOW - 30), SILENT, queue=says(JobState.PENDING))
    assert (first.stuck_since, later.stuck_since, freed.stuck_since) == (NOW, NOW - 30, None)


def test_where_the_accounts_give_no_reason_that_of_the_queue_is_told() -> None:
    silent, telling = says(JobState.CANCELLED), says(JobState.CANCELLED, reason="its dependency failed")
    change = verdict(OVER_FOR_LONG, BEGAN, queue=telling, history=silent)
    assert change.reason == "its dependency failed"


# -- figures


def test_the_accounting_comes_first_then_the_queue_then_the_jobs_own_files() -> None:
    change = verdict(
        OVER_FOR_LONG,
        ended(0),
        history=says(JobState.COMPLETED, metrics=JobMetrics(max_rss_mib=5.0)),
        queue=says(JobState.COMPLETED, metrics=JobMetrics(max_rss_mib=7.0, cores=4)),
    )
    metrics = change.metrics
    assert (metrics.max_rss_mib, metrics.cores, metrics.node_list) == (5.0, 4, "node1")
    assert metrics.elapsed_s == pytest.approx(49.0)
    assert metrics.submitted_at == ROW.created_at


@pytest.mark.parametrize(("sampled", "own"), [(0.0, 1.87), (9.0, 11.96), (80.0, 20.0)])
def test_of_two_cpu_times_the_larger_is_right_and_the_efficiency_is_that_of_it(sampled: float, own: float) -> None:
    """PBS misses the end of a job (0 and 9 s of real jobs), a job's own `times` what ran on other nodes."""
    accounts = JobMetrics(cpu_time_s=sampled, elapsed_s=20.0, cores=4).derived()
    change = verdict(OVER_FOR_LONG, ended(0, cpu_time_s=own), history=says(JobState.COMPLETED, metrics=accounts))
    assert change.metrics.cpu_time_s == max(sampled, own)
    assert change.metrics.cpu_efficiency == pytest.approx(max(sampled, own) / (4 * 49.0))


def test_a_job_shorter_than_the_systems_whole_seconds_took_some_time_all_the_same() -> None:
    sentinel = replace(ended(0), started_at=NOW - 60.9, ended_at=NOW - 60.0)
    accounts = JobMetrics(elapsed_s=0.0, nodes=2).derived()
    change = verdict(OVER_FOR_LONG, sentinel, history=says(JobState.COMPLETED, metrics=accounts))
    assert change.metrics.elapsed_s == pytest.approx(0.9)
    assert change.metrics.node_hours == pytest.approx(2 * 0.9 / 3600)


@pytest.mark.parametrize(("elapsed_s", "efficiency"), [(0.004, None), (0.5, 0.02), (2.0, 0.005)])
def test_a_job_of_milliseconds_did_not_use_its_core_more_than_wholly(
    elapsed_s: float, efficiency: float | None
) -> None:
    """Its shell's start counts as CPU time, and not as elapsed: 276 % of the cores' time."""
    assert JobMetrics(cpu_time_s=0.01, elapsed_s=elapsed_s, cores=1).derived().cpu_efficiency == efficiency


def test_many_threads_on_one_core_are_told_as_they_are() -> None:
    assert JobMetrics(cpu_time_s=80.0, elapsed_s=10.0, cores=1).derived().cpu_efficiency == 8.0


def test_what_was_sampled_while_it_ran_is_not_the_time_of_a_job_that_is_over() -> None:
    row = replace(OVER_FOR_LONG, metrics=JobMetrics(elapsed_s=1.0, cpu_time_s=0.5, max_rss_mib=3.0, nodes=1))
    change = verdict(row, ended(0), has_history=False)
    assert change.metrics.elapsed_s == pytest.approx(49.0)
    assert (change.metrics.cpu_time_s, change.metrics.max_rss_mib) == (None, 3.0)


@pytest.mark.parametrize(("code", "words"), [
    (255, "its program ended with exit code 255"), (200, "its program ended with exit code 200"),
    (139, "its program was killed by signal 11 (SIGSEGV)"),
])  # fmt: skip
def test_a_code_that_is_no_signals_is_an_exit_code(code: int, words: str) -> None:
    assert verdict(OVER_FOR_LONG, ended(code), history=says(JobState.FAILED, exit_code=code)).reason == words


@pytest.mark.parametrize(("code", "state"), [(0, JobState.COMPLETED), (3, JobState.FAILED)])
def test_where_there_are_no_accounts_to_wait_for_a_job_that_the_queue_denies_is_over_at_once(
    code: int, state: JobState
) -> None:
    """Seven seconds from the end of each job to its result, on a PBS without a history."""
    shown = replace(ROW, state=JobState.RUNNING)
    assert verdict(shown, ended(code), has_history=False).state is state
    assert verdict(shown, ended(code), has_history=False, denied=False).state is JobState.RUNNING


@pytest.mark.parametrize("end", [ended(143), ended(1, signal="TERM")])
def test_one_that_was_told_to_end_and_was_never_shown_may_only_not_be_shown_yet(end: Sentinel) -> None:
    """It may have been sent back to the queue, which learns of new jobs late: however often that denies it."""
    unseen = replace(ROW, state=JobState.PENDING)
    first = verdict(unseen, end, has_history=False)
    assert (first.state, first.ending_since) == (JobState.PENDING, NOW)
    for waited_s, state in ((PATIENCE.epilogue_s - 1, JobState.PENDING), (PATIENCE.epilogue_s, JobState.FAILED)):
        again = replace(unseen, state=first.state, ending_since=NOW - waited_s)
        assert verdict(again, end, has_history=False).state is state


def test_another_bad_end_of_one_that_was_never_shown_is_looked_at_twice() -> None:
    unseen = replace(ROW, state=JobState.PENDING)
    assert verdict(unseen, ended(3), has_history=False).state is JobState.RUNNING
    assert verdict(unseen, ended(0), has_history=False).state is JobState.COMPLETED


# -- an answer that leaves a job out


def test_a_job_that_is_merely_not_shown_is_not_absent() -> None:
    row = replace(ROW, absent_since=NOW - 2 * PATIENCE.lost_after_s)
    assert judge(row, Evidence(BEGAN, denied=False), NOW, PATIENCE) is None
    assert judge(replace(row, absent_since=None), Evidence(SILENT, denied=False), NOW, PATIENCE) is None


# -- any evidence at all

statuses = st.none() | st.builds(JobStatus, st.sampled_from(JobState), exit_code=st.none() | st.integers(0, 255))
sentinels = st.builds(
    Sentinel,
    started_at=st.none() | st.floats(0, NOW),
    exit_code=st.none() | st.integers(0, 255),
    ended_at=st.none() | st.floats(0, 2 * NOW),
    signal=st.none() | st.just("TERM"),
)
moments = st.none() | st.floats(0, NOW)


@given(sentinels, statuses, statuses, st.booleans(), st.booleans(), moments, moments)
def test_success_needs_a_positive_proof(
    sentinel: Sentinel,
    queue: JobStatus | None,
    history: JobStatus | None,
    asked: bool,
    has_history: bool,
    ending: float | None,
    absent: float | None,
) -> None:
    row = replace(ROW, ending_since=ending, absent_since=absent)
    change = judge(row, Evidence(sentinel, queue, history, asked, has_history), NOW, PATIENCE)
    if change and change.state is JobState.COMPLETED:
        assert sentinel.exit_code == 0


@given(statuses, statuses, st.booleans(), moments)
def test_a_poll_that_did_not_work_ends_no_job_that_has_not_ended_itself(
    queue: JobStatus | None, history: JobStatus | None, has_history: bool, absent: float | None
) -> None:
    live = [status if status and not status.state.is_final else None for status in (queue, history)]
    change = judge(replace(ROW, absent_since=absent), Evidence(BEGAN, *live, False, has_history), NOW, PATIENCE)
    assert change is None or not change.state.is_final


@pytest.mark.parametrize(("code", "words"), [(72, "could not enter"), (73, "could not write")])
def test_a_script_that_could_not_even_begin_is_explained_by_its_exit_code(code: int, words: str) -> None:
    change = verdict(ROW, Sentinel(), history=says(JobState.FAILED, exit_code=code))

    assert change.state is JobState.FAILED
    assert words in change.reason


# -- systems that do not say how a job ended

OVER = says(JobState.LOST, reason="the system does not say how it ended")


@pytest.mark.parametrize(
    ("sentinel", "cancelled", "state"),
    [
        (ended(0), False, JobState.COMPLETED),
        (ended(0), True, JobState.COMPLETED),
        (ended(0, signal="TERM"), False, JobState.COMPLETED),
        (ended(1, signal="TERM"), False, JobState.CANCELLED),
        (ended(3), False, JobState.FAILED),
        (ended(3), True, JobState.FAILED),
        (ended(143, signal="TERM"), False, JobState.CANCELLED),
        (ended(143, signal="TERM"), True, JobState.CANCELLED),
        (BEGAN, False, JobState.FAILED),
        (BEGAN, True, JobState.CANCELLED),
        (SILENT, False, JobState.LOST),
        (SILENT, True, JobState.CANCELLED),
    ],
)
def test_where_the_system_says_only_that_a_job_is_over_its_own_files_decide(
    sentinel: Sentinel, cancelled: bool, state: JobState
) -> None:
    row = replace(OVER_FOR_LONG, cancel_requested=cancelled)
    change = verdict(row, sentinel, queue=OVER, has_history=False)
    assert change.state is state
    assert change.reason or state is JobState.COMPLETED


def test_a_file_that_decides_may_come_late() -> None:
    assert verdict(ROW, BEGAN, queue=OVER, has_history=False).state is JobState.RUNNING
    assert verdict(ROW, ended(3), queue=OVER, has_history=False).state is JobState.FAILED  # this one is there


def test_a_cancelled_job_that_is_gone_is_cancelled_where_nothing_is_remembered() -> None:
    gone = replace(ROW, cancel_requested=True, absent_since=NOW - PATIENCE.file_delay_s - 1)
    change = verdict(gone, SILENT, has_history=False)
    assert (change.state, change.reason) == (JobState.CANCELLED, "cancelled through dagster_hpc")
    assert not verdict(gone, SILENT).state.is_final  # here a history may still tell
    assert not verdict(replace(gone, cancel_requested=False), SILENT, has_history=False).state.is_final
    assert verdict(replace(gone, absent_since=None), SILENT, has_history=False).state is gone.state


def test_a_job_that_was_deleted_while_it_waited_is_cancelled_where_no_record_is_kept_of_that() -> None:
    gone = replace(ROW, absent_since=NOW - PATIENCE.lost_after_s - 1)
    change = verdict(gone, SILENT, forgets_deleted=True)
    assert change.state is JobState.CANCELLED
    assert "deleted while it waited" in change.reason
    assert verdict(gone, BEGAN, forgets_deleted=True).state is JobState.LOST  # it ran: there ought to be a record
    assert verdict(gone, SILENT).state is JobState.LOST
    by_us = replace(ROW, cancel_requested=True, absent_since=NOW - PATIENCE.file_delay_s - 1)
    assert verdict(by_us, SILENT, forgets_deleted=True).reason == "cancelled through dagster_hpc"
    assert not verdict(by_us, BEGAN, forgets_deleted=True).state.is_final


def test_a_job_that_we_cancelled_and_that_was_killed_is_cancelled() -> None:
    # some systems record the signal of a cancellation, and not the order
    killed = says(JobState.FAILED, signal=9, reason="killed by signal 9 (SIGKILL)")
    ours = replace(OVER_FOR_LONG, cancel_requested=True)
    assert verdict(ours, BEGAN, history=killed).state is JobState.CANCELLED
    assert verdict(OVER_FOR_LONG, BEGAN, history=killed).state is JobState.FAILED
    assert verdict(ours, ended(3), history=says(JobState.FAILED, exit_code=3)).state is JobState.FAILED


# -- which witness is heard first


def test_the_accounts_come_before_the_queue_and_give_their_own_reason() -> None:
    history, queue = (
        says(JobState.CANCELLED, reason="by the user"),
        says(JobState.CANCELLED, reason="it was told to end"),
    )
    assert verdict(OVER_FOR_LONG, BEGAN, queue=queue, history=history).reason == "by the user"
    other = says(JobState.FAILED, reason="NonZeroExitCode")
    change = verdict(OVER_FOR_LONG, BEGAN, queue=other, history=says(JobState.CANCELLED))
    assert (change.state, change.reason) == (JobState.CANCELLED, "")  # the reason is one for another end


def test_accounts_that_say_final_are_believed_where_the_queue_knows_no_state_and_only_there() -> None:
    over = says(JobState.COMPLETED)
    assert verdict(ROW, ended(0), queue=says(JobState.UNKNOWN), history=over).state is JobState.COMPLETED
    assert verdict(ROW, BEGAN, queue=says(JobState.RUNNING), history=over).state is JobState.RUNNING
    assert verdict(ROW, BEGAN, queue=says(JobState.RUNNING), history=over).ending_since is None  # it was requeued


def test_a_file_system_that_does_not_answer_ends_no_job() -> None:
    unheard = Evidence(Sentinel(unreadable="Stale file handle"), history=says(JobState.FAILED))
    assert judge(OVER_FOR_LONG, unheard, NOW, PATIENCE) is None
    assert judge(replace(ROW, absent_since=LONG_AGO), replace(unheard, history=None), NOW, PATIENCE) is None


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.HELD])
def test_a_job_that_waits_in_the_queue_again_has_not_ended(state: JobState) -> None:
    change = verdict(OVER_FOR_LONG, ended(143, signal="TERM"), queue=says(state))
    assert (change.state, change.ending_since) == (state, None)


def test_while_a_job_completes_the_queue_tells_of_it_and_its_end_is_remembered() -> None:
    row = replace(ROW, ending_since=NOW - 10)
    queue = says(JobState.RUNNING, reason="its epilogue runs", metrics=JobMetrics(cores=4))
    change = verdict(row, ended(0), queue=queue)
    assert (change.reason, change.ending_since, change.metrics.cores) == ("its epilogue runs", NOW - 10, 4)
    assert verdict(row, BEGAN, queue=queue).ending_since is None


def test_an_end_that_was_seen_in_the_future_is_one_of_now() -> None:
    assert verdict(replace(ROW, ending_since=NOW + 100), ended(0)).ending_since == NOW


def test_the_exit_code_is_the_scripts_own_and_else_that_of_the_accounts() -> None:
    failed = says(JobState.FAILED, exit_code=7)
    assert verdict(OVER_FOR_LONG, BEGAN, history=failed).exit_code == 7
    assert verdict(OVER_FOR_LONG, ended(0), history=failed).exit_code == 0


# -- of which run the files are


def test_an_exit_code_from_before_the_present_run_says_nothing() -> None:
    runs = says(JobState.RUNNING, metrics=JobMetrics(started_at=NOW))
    assert verdict(ROW, BEGAN, queue=runs).state is JobState.RUNNING
    assert verdict(OVER_FOR_LONG, ended(0), queue=runs).state is JobState.RUNNING
    at_once = says(JobState.RUNNING, metrics=JobMetrics(started_at=NOW - 131))
    since = replace(ROW, ending_since=NOW - 130)
    assert verdict(since, ended(0), queue=at_once).state is JobState.COMPLETED
    over = says(JobState.COMPLETED, metrics=JobMetrics(started_at=NOW))  # only clocks that differ
    assert verdict(OVER_FOR_LONG, ended(0), queue=over).state is JobState.COMPLETED


@pytest.mark.parametrize(("before_s", "is_old"), [(59.0, False), (60.0, False), (60.5, True)])
def test_a_file_is_old_only_where_it_contradicts_accounts_that_began_well_after_it(
    before_s: float, is_old: bool
) -> None:
    started = JobMetrics(started_at=NOW - 1 + before_s)
    failed = verdict(OVER_FOR_LONG, ended(0), history=says(JobState.FAILED, reason="why", metrics=started))
    assert failed.reason == ("why" if is_old else "the scheduler says FAILED (why), although its script ended with 0")
    assert failed.metrics.ended_at == (None if is_old else NOW - 1)
    well = verdict(OVER_FOR_LONG, ended(3), history=says(JobState.COMPLETED, metrics=started))
    assert well.reason == ("its script did not run to the end" if is_old else "its program ended with exit code 3")
    agrees = verdict(OVER_FOR_LONG, ended(0), history=says(JobState.COMPLETED, metrics=started))
    assert agrees.state is JobState.COMPLETED


def test_a_job_that_runs_anew_by_its_accounts_has_not_ended_by_the_file_of_its_earlier_run() -> None:
    # it was called COMPLETED while it ran, where the queue did not show it for a moment
    anew = says(JobState.RUNNING, metrics=JobMetrics(started_at=NOW - 50))
    late = says(JobState.RUNNING, metrics=JobMetrics(started_at=NOW - 550))  # accounts that are only behind
    for code, ends in ((0, JobState.COMPLETED), (3, JobState.FAILED)):
        earlier = replace(ended(code), ended_at=NOW - 500)
        assert verdict(OVER_FOR_LONG, earlier, history=anew).state is JobState.RUNNING
        assert verdict(OVER_FOR_LONG, earlier, history=late).state is ends


def test_the_signal_that_ended_an_earlier_run_did_not_end_this_one() -> None:
    earlier = replace(ended(0, signal="TERM"), ended_at=NOW - 1000)
    gone = says(JobState.LOST, reason="nobody knows how", metrics=JobMetrics(started_at=NOW - 50))
    change = verdict(OVER_FOR_LONG, earlier, history=gone)
    assert (change.state, change.reason) == (JobState.FAILED, "its script did not run to the end, and nobody knows how")


# -- what is concluded while a witness is missing


def test_an_end_is_concluded_without_the_queue_only_if_nobody_answers_and_it_is_a_good_one() -> None:
    away = {"asked": False, "queue_heard": False}
    assert verdict(OVER_FOR_LONG, ended(0), **away).state is JobState.COMPLETED
    assert verdict(OVER_FOR_LONG, ended(3), **away).state is JobState.RUNNING  # it may have been requeued
    assert verdict(OVER_FOR_LONG, ended(0, signal="TERM"), **away).state is JobState.RUNNING
    assert verdict(OVER_FOR_LONG, ended(0), queue_heard=False).state is JobState.RUNNING  # it is asked for next


def test_a_bad_end_of_which_only_the_job_itself_tells_is_told_when_no_accounts_can_be_late() -> None:
    row = replace(ROW, ending_since=NOW - PATIENCE.epilogue_s / 2)
    assert verdict(row, ended(3)).state is JobState.RUNNING
    assert verdict(row, ended(0)).state is JobState.COMPLETED
    assert verdict(row, ended(3), has_history=False).state is JobState.FAILED


def test_what_the_queue_says_was_done_to_a_job_is_believed_at_once_only_where_nothing_else_is_heard() -> None:
    killed, failed = says(JobState.TIMEOUT), says(JobState.FAILED)
    assert verdict(ROW, BEGAN, queue=killed, asked=False).state is JobState.TIMEOUT
    assert verdict(ROW, BEGAN, queue=killed).state is JobState.RUNNING
    assert verdict(ROW, BEGAN, queue=failed, asked=False).state is JobState.RUNNING


def test_accounts_that_are_not_final_yet_are_waited_for() -> None:
    queue, history = says(JobState.COMPLETED), says(JobState.RUNNING)
    assert verdict(ROW, ended(0), queue=queue, history=history).state is JobState.RUNNING


def test_a_record_of_success_that_the_files_contradict_waits_for_a_file_that_is_late() -> None:
    assert verdict(ROW, ended(3), history=says(JobState.COMPLETED)).state is JobState.RUNNING
    assert verdict(ROW, ended(3), history=says(JobState.FAILED)).state is JobState.FAILED
    assert verdict(ROW, BEGAN, history=says(JobState.FAILED)).state is JobState.FAILED


@pytest.mark.parametrize("source", ["history", "queue"])
def test_an_end_that_was_noted_before_the_scheduler_dates_it_was_that_of_an_earlier_run(source: str) -> None:
    """The job was requeued, the exit code of its first run was seen late, and its last file is still under way."""
    row = replace(ROW, ending_since=NOW - PATIENCE.file_delay_s - 50)
    accounts = says(JobState.COMPLETED, exit_code=0, metrics=JobMetrics(started_at=NOW - 200, ended_at=NOW - 10))
    change = verdict(row, BEGAN, **{source: accounts})
    assert (change.state, change.ending_since) == (JobState.RUNNING, NOW - 10)
    undated = replace(accounts, metrics=JobMetrics())
    assert verdict(row, BEGAN, history=undated).state is JobState.FAILED


@pytest.mark.parametrize("wrong_by_s", [-86400.0, 3600.0])
def test_a_scheduler_whose_clock_is_wrong_keeps_no_job_from_its_end(wrong_by_s: float) -> None:
    accounts = says(JobState.COMPLETED, metrics=JobMetrics(ended_at=NOW + wrong_by_s))
    assert verdict(OVER_FOR_LONG, ended(0), history=accounts).state is JobState.COMPLETED
    assert verdict(OVER_FOR_LONG, BEGAN, history=accounts).state is JobState.FAILED


def test_accounts_that_do_not_answer_are_waited_for_longer_than_those_that_keep_silent() -> None:
    """Its own file says 143; that its time was up only the accounts know, once their database is back."""
    row = replace(ROW, ending_since=NOW - PATIENCE.epilogue_s - 1)
    assert verdict(row, ended(143), asked=False, history_heard=False).state is JobState.RUNNING
    assert verdict(row, ended(143), history=says(JobState.TIMEOUT)).state is JobState.TIMEOUT
    assert verdict(row, ended(143)).state is JobState.FAILED
    assert verdict(row, ended(0), asked=False, history_heard=False).state is JobState.COMPLETED  # its own file proves it


SHORT = Patience(accounting_delay_s=10, epilogue_s=20, file_delay_s=30, lost_after_s=40, stuck_after_s=50, unavailable_s=60)
CANCELLED = says(JobState.CANCELLED)


@pytest.mark.parametrize(
    ("after_s", "row", "evidence", "state"),
    [
        (20, ROW, Evidence(ended(0), has_history=False, denied=False), JobState.COMPLETED),
        (10, ROW, Evidence(ended(0), queue=says(JobState.COMPLETED)), JobState.COMPLETED),
        (20, ROW, Evidence(ended(0), asked=False), JobState.COMPLETED),
        (20, ROW, Evidence(ended(0), queue=says(JobState.RUNNING)), JobState.COMPLETED),
        (20, ROW, Evidence(ended(3)), JobState.FAILED),
        (60, ROW, Evidence(ended(143), asked=False, history_heard=False), JobState.FAILED),
        (30, ROW, Evidence(BEGAN, history=says(JobState.COMPLETED)), JobState.FAILED),
        (40, ROW, Evidence(BEGAN), JobState.LOST),
        (30, replace(ROW, cancel_requested=True), Evidence(BEGAN, has_history=False), JobState.CANCELLED),
        (30, replace(ROW, cancel_requested=True), Evidence(SILENT, forgets_deleted=True), JobState.CANCELLED),
        (50, replace(ROW, cancel_requested=True), Evidence(SILENT, history=CANCELLED), JobState.FAILED),
    ],
)
def test_each_patience_ends_when_it_is_over(after_s: float, row: JobRow, evidence: Evidence, state: JobState) -> None:
    for waited_s, is_over in ((after_s - 1, False), (after_s, True)):
        since = NOW - waited_s
        change = judge(replace(row, ending_since=since, absent_since=since, stuck_since=since), evidence, NOW, SHORT)
        assert change is not None
        assert (change.state is state) is is_over


# -- our own order


TOLD = "cancelled through dagster_hpc"


@pytest.mark.parametrize(
    ("sentinel", "history", "state"),
    [
        (BEGAN, says(JobState.CANCELLED, reason="by 0"), JobState.CANCELLED),
        (ended(143, signal="TERM"), None, JobState.CANCELLED),
        (ended(143), None, JobState.FAILED),
        (ended(0, signal="TERM"), None, JobState.COMPLETED),
        (ended(137, signal="TERM"), says(JobState.FAILED, signal=9), JobState.CANCELLED),
        (ended(137), says(JobState.FAILED, signal=9), JobState.FAILED),
        (ended(143, signal="TERM"), says(JobState.FAILED, signal=15), JobState.FAILED),
        (BEGAN, says(JobState.TIMEOUT), JobState.TIMEOUT),
    ],
)
def test_our_own_order_explains_only_an_end_that_nobody_else_explains(
    sentinel: Sentinel, history: JobStatus | None, state: JobState
) -> None:
    change = verdict(replace(OVER_FOR_LONG, cancel_requested=True), sentinel, history=history)
    assert change.state is state
    assert (change.reason == TOLD) is (state is JobState.CANCELLED)
    assert verdict(OVER_FOR_LONG, sentinel, history=history).reason != TOLD


def test_a_job_that_could_never_start_has_failed_when_it_is_cancelled_for_that() -> None:
    row = replace(ROW, cancel_requested=True, stuck_since=NOW - 100, reason="waits for a node that there is not")
    change = judge(row, Evidence(SILENT, history=CANCELLED), NOW, SHORT)
    assert change is not None
    assert change.state is JobState.FAILED
    assert change.reason == "it waits for a node that there is not; cancelled after it had waited in vain"
    for other in (judge(row, Evidence(SILENT, history=CANCELLED), NOW, PATIENCE),
                  judge(replace(row, stuck_since=None), Evidence(SILENT, history=CANCELLED), NOW, SHORT)):  # fmt: skip
        assert other is not None
        assert (other.state, other.reason) == (JobState.CANCELLED, TOLD)


def test_why_a_job_is_being_deleted_is_kept_until_it_is_gone() -> None:
    row = replace(ROW, cancel_requested=True, stuck_since=NOW - 30, reason="can never start")
    leaving = says(JobState.PENDING, reason="is being deleted")
    kept = verdict(row, SILENT, queue=leaving)
    assert (kept.reason, kept.stuck_since) == ("can never start", NOW - 30)
    for other in (replace(row, cancel_requested=False), replace(row, stuck_since=None)):
        change = verdict(other, SILENT, queue=leaving)
        assert (change.reason, change.stuck_since) == ("is being deleted", None)
    assert verdict(row, SILENT, queue=replace(leaving, stuck=True)).reason == "is being deleted"
    ending = verdict(row, BEGAN, history=says(JobState.COMPLETED))
    assert (ending.reason, ending.stuck_since) == ("can never start", NOW - 30)
    assert verdict(replace(row, cancel_requested=False), BEGAN, history=says(JobState.COMPLETED)).stuck_since is None


# -- what stays as it was, while nothing is concluded


def test_one_that_ends_keeps_its_figures_and_a_requeued_one_stays_held() -> None:
    row = replace(ROW, reason="runs", metrics=JobMetrics(cores=4), ending_since=NOW - 1)
    change = verdict(row, ended(0))
    assert (change.state, change.reason, change.metrics.cores) == (JobState.RUNNING, "runs", 4)
    assert change.ending_since == NOW - 1
    assert verdict(replace(row, state=JobState.HELD), ended(0)).state is JobState.HELD


def test_one_that_is_absent_stays_as_it_is_and_is_counted_from_when_it_was_first_missed() -> None:
    row = replace(
        ROW, reason="runs", exit_code=5, metrics=JobMetrics(cores=4), absent_since=NOW - 200, stuck_since=NOW - 9
    )
    change = verdict(row, BEGAN)
    assert (change.state, change.reason, change.exit_code, change.metrics) == (row.state, "runs", 5, row.metrics)
    assert (change.absent_since, change.stuck_since) == (NOW - 200, NOW - 9)
    told = verdict(row, BEGAN, history=says(JobState.SUSPENDED, reason="suspended"))
    assert (told.state, told.reason, told.absent_since) == (JobState.SUSPENDED, "suspended", NOW - 200)


def test_one_that_is_given_up_keeps_its_figures() -> None:
    row = replace(ROW, metrics=JobMetrics(cores=4), absent_since=LONG_AGO)
    ours = replace(row, cancel_requested=True, absent_since=NOW - 10)
    assert verdict(row, BEGAN).metrics.cores == 4
    assert verdict(row, SILENT, forgets_deleted=True).metrics.cores == 4
    assert verdict(ours, BEGAN, has_history=False).metrics.cores == 4
    assert verdict(replace(row, ending_since=LONG_AGO), ended(0)).metrics.cores == 4


def test_of_a_lost_job_nothing_new_is_told_while_there_is_no_trace_of_it() -> None:
    assert judge(replace(ROW, state=JobState.LOST), Evidence(BEGAN), NOW, PATIENCE) is None


def test_how_long_there_was_no_trace_of_a_lost_job_is_told() -> None:
    assert verdict(replace(ROW, absent_since=NOW - 1000), BEGAN).reason.endswith("for 1000 s")


# -- words


def test_the_words_say_what_is_known_and_no_more() -> None:
    assert verdict(OVER_FOR_LONG, ended(0), queue=OVER, has_history=False).reason == ""
    assert (
        verdict(OVER_FOR_LONG, ended(3), queue=OVER, has_history=False).reason == "its program ended with exit code 3"
    )
    assert verdict(OVER_FOR_LONG, ended(0), history=says(JobState.COMPLETED, reason="why")).reason == "why"
    assert verdict(OVER_FOR_LONG, ended(128)).reason == "its program ended with exit code 128"
    assert verdict(OVER_FOR_LONG, ended(129)).reason == "its program was killed by signal 1 (SIGHUP)"
    killed = says(JobState.FAILED, signal=11)
    assert verdict(OVER_FOR_LONG, BEGAN, history=killed).reason == "killed by signal 11 (SIGSEGV)"
    assert verdict(OVER_FOR_LONG, BEGAN, history=says(JobState.FAILED)).reason == ""
    assert verdict(OVER_FOR_LONG, SILENT, history=says(JobState.FAILED)).reason == "it never began to run"
    stepped = Sentinel(exit_code=143, ended_at=NOW - 1, signal="TERM")  # its start cannot be seen, but its end
    assert verdict(OVER_FOR_LONG, stepped, history=says(JobState.TIMEOUT, reason="why")).reason == "why"


def test_an_end_that_was_noted_before_this_run_began_is_that_of_an_earlier_one() -> None:
    """The node's clock is ahead, the scheduler was away over two requeues: the last run had no time to end at all."""
    row = replace(ROW, ending_since=NOW - 140)
    running = says(JobState.RUNNING, metrics=JobMetrics(started_at=NOW - 16))
    change = verdict(row, replace(ended(143, signal="TERM"), ended_at=NOW + 4), queue=running)
    assert (change.state, change.ending_since) == (JobState.RUNNING, NOW)


def test_an_end_that_was_noted_after_this_run_began_is_its_own() -> None:
    row = replace(ROW, ending_since=NOW - 140)
    running = says(JobState.RUNNING, metrics=JobMetrics(started_at=NOW - 500))
    assert verdict(row, ended(3), queue=running, has_history=False).state is JobState.FAILED
