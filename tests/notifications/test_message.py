"""What people read, word for word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dagster_hpc.engine.job import JobMetrics, JobState, RetryPlan
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.notifications.message import Message, message_of, summary_of
from dagster_hpc.notifications.occasions import Kind, Limits, Occasion, kind_of, under_way
from dagster_hpc.sensors.ended_job import EndedJob

NOW = 1_000_000.0
ROW = JobRow(
    "k7m2x9qd", "k7m2x9qd", "md-1", "slurm@lab", '{"kind": "slurm"}', "/scratch/md-1/k7m2x9qd", JobState.FAILED,
    created_at=NOW - 5000, updated_at=NOW, cluster="lab", queue="regular", project="ab12", retry=RetryPlan(walltime_s=7200),
    job_id="4711", exit_code=3, reason="its program ended with exit code 3", asset_key="trajectory", partition_key="a",
    run_id="r1", metrics=JobMetrics(submitted_at=NOW - 5000, started_at=NOW - 4000, ended_at=NOW, elapsed_s=4000,
                                   max_rss_mib=512.4, node_list="node12"),
)  # fmt: skip


def row(**changes: Any) -> JobRow:
    return replace(ROW, **changes)


def element(index: int, state: JobState = JobState.COMPLETED, **changes: Any) -> JobRow:
    return row(token=f"k7m2x9qd.{index}", array_index=index, state=state, partition_key=f"p{index}", **changes)


def said(kind: Kind, *rows: JobRow, printed: tuple[str, str] = ("", ""), **more: Any) -> Message:
    return message_of(Occasion(kind, EndedJob(rows), ()), printed=printed, now=NOW, **more)


def test_a_job_that_failed_says_what_how_why_and_what_to_do() -> None:
    message = said("failed", ROW, printed=("step 10\n", "no such file: a.pdb\n"), webserver_url="http://dagster:3000/")
    assert message.subject == "[slurm] trajectory [a] ended as FAILED, exit code 3"
    assert message.text == """\
trajectory [a] ended as FAILED, exit code 3.

Why        its program ended with exit code 3
Job        4711 on slurm@lab, queue regular, project ab12
Waited     16m40s
Ran        1h06m of 02:00:00
Memory     512 MiB at most
Nodes      node12
Asset      trajectory
Partition  a
Run        http://dagster:3000/runs/r1
Directory  /scratch/md-1/k7m2x9qd

Last lines of stderr
  no such file: a.pdb

Last lines of stdout
  step 10

What to do: read stderr.log in the work directory.

More: dagster-hpc show k7m2x9qd"""


def test_an_array_is_one_message_that_names_what_failed() -> None:
    bad = [element(0, JobState.OOM, reason="killed for memory"), element(2, JobState.TIMEOUT, reason="")]
    message = said("failed", bad[0], element(1), bad[1])
    assert message.subject == "[slurm] trajectory: 2 of 3 elements ended badly"
    assert "Elements\n  p0: OOM killed for memory\n  p2: TIMEOUT" in message.text
    assert "ask for more memory_per_node" in message.text


def test_a_large_array_names_ten_elements() -> None:
    message = said("failed", *(element(index, JobState.FAILED) for index in range(1000)))
    assert "and 990 more" in message.text
    assert len(message.text) < 3000


def test_the_advice_fits_the_end() -> None:
    assert "ask for a longer walltime" in said("failed", row(state=JobState.TIMEOUT)).text
    assert "dagster-hpc release k7m2x9qd" in said("failed", row(state=JobState.LOST)).text


def test_a_job_that_cannot_start_says_why_in_the_schedulers_words() -> None:
    waiting = row(state=JobState.PENDING, exit_code=None, reason="AssocGrpCPULimit", metrics=JobMetrics())
    message = said("stuck", waiting)
    assert message.subject == "[slurm] trajectory [a] cannot start"
    assert "Why        AssocGrpCPULimit" in message.text
    assert "dagster-hpc cancel k7m2x9qd" in message.text
    assert "Ran" not in message.text


def test_a_job_near_its_walltime_says_how_long_it_has() -> None:
    running = row(state=JobState.RUNNING, exit_code=None, reason="", metrics=JobMetrics(started_at=NOW - 6600))
    message = said("near_walltime", running, printed=("step 900 of 1000", ""))
    assert message.subject == "[slurm] trajectory [a] comes to the end of its walltime in 10m00s"
    assert "Ran        1h50m of 02:00:00" in message.text
    assert "step 900 of 1000" in message.text


def test_a_job_that_waits_long_says_how_long() -> None:
    waiting = row(state=JobState.PENDING, exit_code=None, reason="Priority", metrics=JobMetrics())
    assert said("late", waiting).subject == "[slurm] trajectory [a] has waited 1h23m"
    began = row(state=JobState.RUNNING, metrics=JobMetrics(submitted_at=NOW - 90000, started_at=NOW - 60))
    assert said("late", began).subject == "[slurm] trajectory [a] began after it had waited 1d00h"


def test_secrets_colours_and_bells_are_no_part_of_it() -> None:
    message = said(
        "failed", row(reason="refused: --password hunter2"), printed=("", "\x1b[31mAPI_KEY=abcdef\x1b[0m\x07\n")
    )
    assert "hunter2" not in message.text
    assert "  API_KEY=***\n" in message.text
    assert "\x1b" not in message.text


def test_a_subject_is_one_line() -> None:
    assert "\n" not in said("failed", row(asset_key=None, name="a\nBcc: all@example.org")).subject


def test_long_logs_are_cut() -> None:
    message = said("failed", ROW, printed=("", "\n".join(f"{number} {'x' * 1000}" for number in range(100))))
    assert "  99 xxx" in message.text
    assert "  84 xxx" not in message.text
    assert len(message.text) < 5000


def test_a_summary_lists_what_happened() -> None:
    many = [Occasion("failed", EndedJob((row(token=f"t{number}"),)), ()) for number in range(60)]
    message = summary_of([*many, Occasion("stuck", EndedJob((ROW,)), ())], NOW)
    assert message.subject == "HPC jobs: 60 failed, 1 cannot start"
    assert message.text.splitlines()[0].endswith("dagster-hpc show t0")
    assert message.text.splitlines()[-1] == "and 11 more: dagster-hpc jobs"


def test_what_was_cancelled_on_purpose_is_told_to_nobody() -> None:
    wanted = row(state=JobState.CANCELLED, cancel_requested=True)
    assert kind_of(EndedJob((wanted,))) is None
    assert kind_of(EndedJob((replace(wanted, cancel_requested=False),))) == "failed"


RUNNING = row(state=JobState.RUNNING, metrics=JobMetrics(submitted_at=NOW - 7000, started_at=NOW - 6600))


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        (RUNNING, ["near_walltime"]),
        (replace(RUNNING, retry=None), []),  # of an older version, which did not note it
        (replace(RUNNING, retry=RetryPlan(walltime_s=8000)), []),
        (replace(RUNNING, ending_since=NOW), []),  # it is over, and its accounts are to come
        (row(state=JobState.PENDING, metrics=JobMetrics(), stuck_since=NOW - 301), ["stuck"]),
        (row(state=JobState.PENDING, metrics=JobMetrics(), stuck_since=NOW - 10), []),
        (row(state=JobState.PENDING, metrics=JobMetrics(), created_at=NOW - 30000), ["late"]),
        (row(state=JobState.FAILED, again_at=NOW), []),  # another attempt comes
    ],
)
def test_which_jobs_that_live_are_worth_a_message(found: JobRow, kinds: list[str]) -> None:
    occasions = under_way([found], ("stuck", "near_walltime", "late"), Limits(), NOW)
    assert [one.kind for one in occasions] == kinds


def test_the_elements_of_an_array_that_live_are_one_message() -> None:
    metrics = JobMetrics(started_at=NOW - 6600)
    rows = [element(index, JobState.RUNNING, metrics=metrics) for index in (1, 0)]
    (occasion,) = under_way(rows, ("near_walltime",), Limits(), NOW)
    assert [one.array_index for one in occasion.job.rows] == [0, 1]
    assert said("near_walltime", *occasion.job.rows).subject.endswith("(2 elements)")
