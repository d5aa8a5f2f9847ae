"""What is said of a job, from what is known of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dagster_hpc.engine.job import JobMetrics, JobState, RetryPlan
from dagster_hpc.engine.schedulers.base import Outlook
from dagster_hpc.engine.schedulers.slurm.words import EXPLAINED, cannot_start
from dagster_hpc.engine.schedulers.slurm.words import explain as slurm_sentence
from dagster_hpc.explain import Explanation, Facts, explain
from dagster_hpc.explain.ends import EXIT_CODES
from tests.cli.terminal import row

GIVEN = RetryPlan(walltime_s=600, memory_mib=64, profile="small", nodes=1, ranks_per_node=1, cores_per_node=2)
NOW = 1000.0


def said(system: str = "slurm", *, outlook: Outlook | None = None, stderr: str = "", **values: Any) -> Explanation:
    job = row("abcdefgh", **{"retry": GIVEN, "job_id": "7", "created_at": 900.0, **values})
    return explain(Facts(job, system, NOW, outlook or Outlook(), stderr=stderr))


def waiting(reason: str, system: str = "slurm", **more: Any) -> Explanation:
    return said(system, state=JobState.PENDING, reason=reason, **more)


# -- waits

WAITS = [word for word in EXPLAINED if slurm_sentence(word).startswith(("waits", "is next", "is held", "can never"))]


@pytest.mark.parametrize("word", WAITS)
def test_every_reason_of_slurm_has_a_remedy_and_keeps_its_word(word: str) -> None:
    told = waiting(slurm_sentence(word), stuck_since=1.0 if cannot_start(word) else None)

    assert f"({word})" in told.summary
    assert told.remedies


@pytest.mark.parametrize("word", ["QOSMaxNodePerJobLimit", "QOSMaxCpuPerJobLimit"])
def test_a_limit_on_single_jobs_is_not_told_to_pass(word: str) -> None:
    assert not any("starts when" in remedy for remedy in waiting(slurm_sentence(word)).remedies)


def test_a_job_that_can_never_start_has_no_estimate_and_is_to_be_cancelled() -> None:
    told = waiting(slurm_sentence("PartitionTimeLimit"), outlook=Outlook(2000.0), stuck_since=1.0)

    assert told.starts_at is None
    assert "dagster-hpc cancel abcdefgh" in told.remedies[-1]


def test_the_estimate_and_the_words_of_the_scheduler_are_handed_on() -> None:
    told = waiting("waits its turn (qw)", "sge", outlook=Outlook(2000.0, ('PE "smp" only offers 0 slots',)))
    assert (told.starts_at, told.words) == (2000.0, ('PE "smp" only offers 0 slots',))


def test_what_it_asks_for_is_said_with_the_profile_that_says_so() -> None:
    assert waiting(slurm_sentence("Resources")).details == (
        "It asks for 1 node with 2 cores each, 64 MiB per node, a walltime of 00:10:00, by the profile 'small'.",
    )


@pytest.mark.parametrize(
    ("system", "reason", "remedy"),
    [
        ("slurm", "waits: the account has used up its core time (AssocGrpCPUMinutesLimit)", "charge another account"),
        ("slurm", "waits: nodes are reserved (ReqNodeNotAvail, Reserved for maintenance)", "sinfo -R"),
        ("pbs", "can never start (Can Never Run: Insufficient amount of resource: ncpus)", "another queue"),
        ("pbs", "waits (Not Running: User has reached queue regular running job limit.)", "another of your jobs ends"),
        ("pjm", "GATE CHECK (the site checks a job before it starts)", "gfscache"),
        ("sge", "can never start: it is in the error state, `qstat -j 7` says why (Eqw)", "qmod -cj 7"),
        ("lsf", "Dependency condition invalid or never satisfied", "did not end as required"),
        ("flux", "waits for the jobs that it depends on", "explain that one"),
        ("torque", "is held by its owner", "qrls 7"),
        ("local", "waits for 2 cores, 0 free", "fewer cores"),
    ],
)
def test_each_system_has_its_own_remedies(system: str, reason: str, remedy: str) -> None:
    assert remedy in " ".join(waiting(reason, system).remedies)


def test_a_job_that_is_being_cancelled_needs_no_remedy() -> None:
    told = waiting(slurm_sentence("Priority"), cancel_requested=True)
    assert "being cancelled" in told.details[-1]
    assert told.remedies == ()


def test_a_job_in_the_ledger_says_what_is_before_it() -> None:
    facts = Facts(row("abcdefgh", state=JobState.READY), "slurm", NOW, before=2, live=5)

    told = explain(facts)

    assert "waits in the ledger for room on slurm" in told.summary
    assert told.details == ("5 jobs of the target are with the scheduler now.", "2 submissions are before it.")


def test_a_running_job_says_how_much_of_its_walltime_is_left() -> None:
    told = said(state=JobState.RUNNING, metrics=JobMetrics(started_at=NOW - 60))
    assert told.summary == "It runs, for 00:01:00 of 00:10:00 so far."
    assert told.details == ("Its walltime ends in 00:09:00.",)


# -- ends


def ended(state: JobState, **values: Any) -> Explanation:
    return said(state=state, **values)


def test_a_timeout_says_used_and_given() -> None:
    told = ended(JobState.TIMEOUT, reason="ran into its walltime", metrics=JobMetrics(elapsed_s=601))

    assert told.summary == "It ended as TIMEOUT: ran into its walltime."
    assert told.details == ("It ran for 00:10:01 of 00:10:00.",)
    assert "longer walltime" in told.remedies[-1]


def test_out_of_memory_says_used_and_given_and_that_sampling_is_slow() -> None:
    seen = ended(JobState.OOM, metrics=JobMetrics(max_rss_mib=63.0)).details
    unseen = ended(JobState.OOM, metrics=JobMetrics(max_rss_mib=10.0)).details

    assert seen == ("Its largest process was seen to use 63 MiB of 64 MiB per node.",)
    assert "memory grew faster than it is looked at" in unseen[-1]


def test_out_of_memory_without_any_asked_for_says_so() -> None:
    told = ended(JobState.OOM, retry=replace(GIVEN, memory_mib=None))
    assert "asked for no memory_per_node" in told.details[-1]


@pytest.mark.parametrize("code", EXIT_CODES)
def test_an_exit_code_with_a_meaning_is_explained(code: int) -> None:
    told = ended(JobState.FAILED, exit_code=code, stderr="x: not found")

    assert f"with exit code {code}" in told.summary
    assert EXIT_CODES[code][0] in told.details[0]
    assert told.words == ("x: not found",)


def test_a_kill_with_all_memory_in_use_is_called_one_for_memory() -> None:
    told = ended(JobState.FAILED, exit_code=137, metrics=JobMetrics(max_rss_mib=63.9))
    assert "nearly all of its memory" in told.details[-1]


def test_what_failed_before_the_program_is_not_explained_by_its_exit_code() -> None:
    told = ended(JobState.FAILED, exit_code=127, reason="module load gcc/99 failed with exit code 127")

    assert "before its program began" in told.details[0]
    assert "module avail" in told.remedies[0]


def test_an_output_that_is_missing_and_the_attempt_that_follows_are_named() -> None:
    told = ended(JobState.COMPLETED, missing=("counts (counts.json)",))
    assert told.details == ("It left no counts (counts.json).",)
    assert "these names" in told.remedies[0]
    assert "zyxwvuts has taken its place" in ended(JobState.TIMEOUT, next_token="zyxwvuts").details[-1]


def test_a_lost_job_is_released_by_its_own_token() -> None:
    assert "dagster-hpc release abcdefgh" in ended(JobState.LOST).remedies[0]


def test_of_a_job_that_ended_well_nothing_is_to_be_changed() -> None:
    assert ended(JobState.COMPLETED, exit_code=0).remedies == ()


def test_a_job_of_an_older_version_is_explained_without_what_it_was_given() -> None:
    assert said(state=JobState.TIMEOUT, retry=None, metrics=JobMetrics(elapsed_s=5.0)).details == ()
