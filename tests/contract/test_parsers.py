"""Whatever a command answers, no parser fails, and none says more than the text proves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import HPCError, SchedulerUnavailable
from dagster_hpc.engine.job import JobState, JobStatus
from dagster_hpc.engine.schedulers import KINDS, from_json, scheduler_class, to_json
from dagster_hpc.engine.schedulers.base import Report, Scheduler
from tests.transcripts import names, transcript

ALL = [pytest.param(scheduler_class(kind)(), id=kind) for kind in KINDS]
TOKEN = "abcd2345"
NO_WORD = "Xyzzy"
ARRAYS = {
    "pbs": "87[].server",
    "gadi": "87[].server",
    "torque": "87[].server",
    "miyabi": "87[]",
}  # ids of arrays; else 87
MOST_CHARACTERS = 2**17  # of one word of a command, and little beside what a whole command may hold

everything = pytest.mark.parametrize("scheduler", ALL)
unhurried = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])

codes = st.one_of(st.none(), st.sampled_from([0, 1, 2, 35, 153, 255]), st.integers(-64, 255))
texts = st.one_of(
    st.text(),
    st.binary().map(lambda data: data.decode("utf-8", "replace")),
    st.text(alphabet="0123456789.[]_-|:;, \t\n=+%()RQCEFXabDONEUN"),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["Jobs", "jobs", "id", "state", "job_state", "Exit_status", "result", "name", "1"]),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=8,
    ).map(json.dumps),
)


@dataclass(frozen=True)
class Reader:
    """One of a scheduler's ways to read an answer: what it gives where that is a report, else none."""

    name: str
    read: Callable[[Answer], Any]

    def report(self, answer: Answer) -> Report:
        """What it reads; nothing where it says with an error of ours that it cannot."""
        try:
            said = self.read(answer)
        except HPCError:
            return Report()
        return said if isinstance(said, Report) else Report()


def readers(scheduler: Scheduler) -> list[Reader]:
    every = (
        "read_submit", "read_queue", "read_look_for", "read_history", "read_found", "read_cancel", "read_identity",
        "read_outlook",
    )  # fmt: skip
    def read_room(answer: Answer) -> Any:
        calls = scheduler.room("me", "q", "p")
        return scheduler.read_room([replace(answer, argv=call.argv, about=call.about) for call in calls])

    return [*(Reader(name, getattr(scheduler, name)) for name in every), Reader("read_room", read_room)]


def recorded(scheduler: Scheduler) -> list[Answer]:
    return [transcript(scheduler.kind, name) for name in names(scheduler.kind)]


def finals(report: Report) -> Mapping[str, JobState]:
    return {job_id: status.state for job_id, status in report.jobs.items() if status.state.is_final}


# ---------------------------------------------------------------------- garbage


@everything
@unhurried
@given(code=codes, out=texts, err=texts)
def test_no_answer_is_an_error_but_ours(scheduler: Scheduler, code: int | None, out: str, err: str) -> None:
    for reader in readers(scheduler):
        reader.report(Answer(("command",), code, out, err))


@everything
@unhurried
@given(code=codes, out=texts, err=texts)
def test_a_submission_gives_an_id_or_an_error(scheduler: Scheduler, code: int | None, out: str, err: str) -> None:
    with suppress(HPCError):
        job_id = scheduler.read_submit(Answer(("submit",), code, out, err))
        assert job_id == job_id.strip()
        assert job_id in out
        assert code == 0


@everything
@given(out=texts)
@unhurried
def test_a_submission_without_an_end_is_open(scheduler: Scheduler, out: str) -> None:
    """Whatever had been said before the command was killed, or took too long."""
    with pytest.raises(SchedulerUnavailable):
        scheduler.read_submit(Answer(("submit",), None, "", out))


@everything
def test_a_submission_without_a_word_is_open(scheduler: Scheduler) -> None:
    with pytest.raises(SchedulerUnavailable):
        scheduler.read_submit(Answer(("submit",), 0, "", ""))


@everything
@unhurried
@given(code=codes, err=texts)
def test_an_empty_answer_ends_no_job(scheduler: Scheduler, code: int | None, err: str) -> None:
    for reader in readers(scheduler):
        assert not reader.report(Answer(("command",), code, "", err)).jobs


@everything
@unhurried
@given(out=texts)
def test_an_answer_that_did_not_come_to_its_end_has_failed(scheduler: Scheduler, out: str) -> None:
    """So that what is absent from it is not taken for gone."""
    assert scheduler.read_queue(Answer(("command",), None, out, "")).failed


BANNER = "*** Welcome to node 7 of 12: maintenance on 24.12.2026, 08:00 ***\n"
FAREWELL = "Your group has used 1234 of 5000 node hours.\n\n"


@everything
def test_what_a_site_prints_around_it_does_not_hide_the_id(scheduler: Scheduler) -> None:
    """Or else the job is looked up by its name, as where a bare number could be anything."""
    for answer in recorded(scheduler):
        job_id = submitted(scheduler, answer)
        if job_id:
            bare = answer.stdout.strip() == job_id
            for stdout in (BANNER + answer.stdout, answer.stdout + FAREWELL):
                seen = submitted(scheduler, replace(answer, stdout=stdout))
                assert seen == job_id or (bare and seen is None), (answer, stdout)


def submitted(scheduler: Scheduler, answer: Answer) -> str | None:
    try:
        return scheduler.read_submit(answer)
    except HPCError:
        return None


@everything
def test_a_look_up_that_did_not_come_to_its_end_finds_out_nothing(scheduler: Scheduler) -> None:
    with pytest.raises(SchedulerUnavailable):
        scheduler.read_found(Answer(("command",), None, "", ""))


# ---------------------------------------------------------------------- half an answer


@everything
def test_half_an_answer_says_no_more_than_the_whole(scheduler: Scheduler) -> None:
    """Cut anywhere. What tells a failure's kind may be missing from the half."""
    for answer in recorded(scheduler):
        for reader in readers(scheduler):
            whole = finals(reader.report(answer))
            for cut in cuts(answer.stdout):
                half = finals(reader.report(replace(answer, stdout=answer.stdout[:cut])))
                for job_id, state in half.items():
                    true = whole.get(job_id)
                    less = state is JobState.FAILED and true is not None and not true.is_success
                    assert state is true or less, (answer.argv, reader.name, job_id, answer.stdout[:cut][-200:])


def cuts(text: str, most: int = 400) -> Iterator[int]:
    """Places to cut: all of them in a short text, in a long one as many in equal distances."""
    return iter(range(0, len(text), max(1, len(text) // most)))


@everything
@pytest.mark.parametrize("code", [None, 1, 255])
def test_an_exit_code_of_failure_proves_no_end(scheduler: Scheduler, code: int | None) -> None:
    """A list of jobs with another exit code proves no more than with its own."""
    for answer in recorded(scheduler):
        for reader in readers(scheduler):
            whole = finals(reader.report(answer))
            other = finals(reader.report(replace(answer, code=code)))
            assert not whole or other.items() <= whole.items(), (answer.argv, reader.name)
            assert answer.code != 0 or other.items() <= whole.items(), (answer.argv, reader.name)


# ---------------------------------------------------------------------- new words


@everything
def test_a_new_word_makes_no_job_end_well(scheduler: Scheduler) -> None:
    """Each word of each transcript replaced, one after the other."""
    for answer in recorded(scheduler):
        before = {reader.name: reader.report(answer).jobs for reader in readers(scheduler)}
        for after in mutations(answer):
            for reader in readers(scheduler):
                for job_id, status in reader.report(after).jobs.items():
                    was = before[reader.name].get(job_id)  # none where the word was the job's own id
                    well = was and status.state.is_success and not was.state.is_success
                    assert not well, (answer.argv, reader.name, job_id, after.stdout[-300:])


@everything
def test_a_new_state_is_unknown_and_final_never(scheduler: Scheduler) -> None:
    """In a list of live jobs, each has a word that says its state: a new one in its place is UNKNOWN."""
    for answer in recorded(scheduler):
        jobs = live(scheduler.read_queue(answer).jobs) if answer.code == 0 else {}
        unknown = {
            job_id
            for after in mutations(answer)
            for job_id, status in scheduler.read_queue(after).jobs.items()
            if status.state is JobState.UNKNOWN
        }
        assert not unknown or set(jobs) <= unknown, (answer.argv, set(jobs) - unknown)


def live(jobs: Mapping[str, JobStatus]) -> dict[str, JobStatus]:
    return {job_id: status for job_id, status in jobs.items() if not status.state.is_final}


def mutations(answer: Answer, most: int = 150) -> Iterator[Answer]:
    """The answer with each of its words in turn replaced, wherever it stands, by one that nobody knows."""
    words = list(dict.fromkeys(re.findall(r"\w+", answer.stdout[:20_000])))
    for word in words[:most]:
        yield replace(answer, stdout=re.sub(rf"\b{re.escape(word)}\b", NO_WORD, answer.stdout))


# ---------------------------------------------------------------------- names


@everything
@given(name=st.text())
@unhurried
def test_a_job_name_is_one_that_every_system_takes(scheduler: Scheduler, name: str) -> None:
    shown = scheduler.job_name(name, TOKEN)
    assert len(shown) <= scheduler.name_limit
    assert shown.endswith(TOKEN)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", shown)


@everything
@given(token=st.text(alphabet="abcdefghjkmnpqrstuvwxyz23456789", min_size=8, max_size=8))
@unhurried
def test_a_name_survives_the_way_into_a_question(scheduler: Scheduler, token: str) -> None:
    shown = scheduler.job_name("a name", token)
    assert all(isinstance(call.argv, tuple) and call.argv for call in scheduler.find(shown))


@everything
def test_a_scheduler_survives_the_ledger(scheduler: Scheduler) -> None:
    assert from_json(to_json(scheduler)) == scheduler


@pytest.mark.parametrize("scheduler", [param for param in ALL if "array" not in param.values[0].lacks])
def test_the_ids_of_elements_lead_back_to_the_array(scheduler: Scheduler) -> None:
    array = ARRAYS.get(scheduler.kind, "87")
    elements = [scheduler.element_id(array, index) for index in range(3)]
    assert len(set(elements)) == 3
    assert {scheduler.array_id(element) for element in elements} == {array}


@everything
def test_as_many_are_cancelled_at_once_as_may_be_asked_for(scheduler: Scheduler) -> None:
    """Every id is named, an array's by its own id, and the command is no longer than a command line may be."""
    brackets = ARRAYS.get(scheduler.kind, "").lstrip("87")
    longest = f"{10**9}{brackets.replace('server', 's' * 60)}" if brackets else str(10**12)
    array = scheduler.array_id(scheduler.element_id(longest, 3))
    ids = [array.replace("1", str(number), 1) for number in range(scheduler.ids_per_call)]
    call = scheduler.cancel(ids)
    assert list(call.argv[-len(ids) :]) == ids
    assert sum(len(word) + 1 for word in call.argv) < MOST_CHARACTERS
    assert max(len(word) for call in [scheduler.queue(ids)] for word in call.argv) < MOST_CHARACTERS
