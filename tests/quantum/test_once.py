"""A quantum job is submitted once: processes are killed at every step of it, and others ask at the same moment."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("qiskit_ibm_runtime")

from dagster_hpc.engine.errors import ConfigurationError, LedgerUnavailable, SchedulerUnavailable
from dagster_hpc.engine.ledger import Ledger
from dagster_hpc.engine.ledger.quantum import QuantumRow
from dagster_hpc.engine.process import new_owner
from dagster_hpc.quantum import IBMSampler, QuantumJobFailed
from dagster_hpc.quantum.once import Sender, submit_once
from tests.quantum.client import bell, clients
from tests.quantum.service import Service


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    import qiskit_ibm_runtime

    for name in ("QiskitRuntimeService", "Sampler"):
        monkeypatch.setattr(qiskit_ibm_runtime, name, None)  # and put back after the test
    return Service(tmp_path / "service").install()


@pytest.fixture
def sampler(ledger_url: str) -> IBMSampler:
    return IBMSampler(search=0.0, poll_interval=0.05, ledger_url=ledger_url)


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


def killed_at(point: str, service: Service, ledger_url: str) -> None:
    with clients(service, ledger_url, {point: "kill"}) as (one,):
        assert one.is_killed()


def sampled(sampler: IBMSampler) -> tuple[str, bool]:
    job = sampler.submit([bell()], shots=50, seed=1)
    assert len(sampler.fetch(job).bits) == 50
    return job.reference, job.joined


@pytest.mark.parametrize("point", ["quantum: after the claim", "quantum: before the submission"])
def test_killed_before_the_submission_it_is_submitted_by_the_next(
    service: Service, sampler: IBMSampler, ledger_url: str, point: str
) -> None:
    killed_at(point, service, ledger_url)
    assert [(str(row.state), row.reference) for row in sampler.jobs()] == [("SUBMITTING", None)]
    assert service.ids() == []

    reference, joined = sampled(sampler)

    assert (service.ids(), joined) == ([reference], False)
    assert [str(row.state) for row in sampler.jobs()] == ["DONE"]


def test_killed_after_the_submission_its_job_is_found_by_its_tag(
    service: Service, sampler: IBMSampler, ledger_url: str
) -> None:
    killed_at("quantum: after the submission", service, ledger_url)
    assert [row.reference for row in sampler.jobs()] == [None]
    (submitted,) = service.ids()

    assert sampled(sampler) == (submitted, True)

    assert service.ids() == [submitted]
    assert [(row.reference, str(row.state)) for row in sampler.jobs()] == [(submitted, "DONE")]
    assert sampler.jobs()[0].circuits[0]["qubits"] == 3  # written down before it was submitted


def test_a_job_that_turns_up_late_is_waited_for(service: Service, sampler: IBMSampler, ledger_url: str) -> None:
    """The service lists a job only some time after it took it: nobody submits before that."""
    killed_at("quantum: after the submission", service, ledger_url)
    (path,) = service.folder.glob("job-*")
    hidden = path.rename(path.with_name(f".{path.name}"))
    patient = sampler.model_copy(update={"search": 600.0})
    looked: list[int] = []
    look = service.jobs

    def late(**how: Any) -> Any:
        looked.append(1)
        if len(looked) == 3:
            hidden.rename(path)
        return look(**how)

    service.jobs = late  # type: ignore[method-assign]

    assert sampled(patient) == (path.name, True)
    assert len(looked) >= 3


def test_several_at_the_same_moment_submit_once(service: Service, ledger_url: str, tmp_path: Path) -> None:
    sending, go = "quantum: before the submission", tmp_path / "go"
    with clients(service, ledger_url, {sending: str(go)}) as (first,):
        first.comes_to(sending)
        with clients(service, ledger_url, {}, {}) as others:
            for other in others:
                other.comes_to("quantum: while another one submits")
            assert service.ids() == []
            go.touch()
            answers = [one.answer() for one in (first, *others)]

    assert [one["joined"] for one in answers] == [False, True, True]
    assert [{one["reference"]} for one in answers] == [set(service.ids())] * 3
    assert [one["shots"] for one in answers] == [50] * 3


def test_the_same_content_is_fetched_again_and_another_one_is_not(service: Service, sampler: IBMSampler) -> None:
    first = sampler.submit([bell()], shots=50, seed=1)
    again = sampler.submit([bell()], shots=50, seed=1)
    others = [
        sampler.submit([bell()], shots=51, seed=1),
        sampler.submit([bell()], shots=50, seed=2),
        sampler.submit([bell(), bell()], shots=50, seed=1),
        sampler.model_copy(update={"optimization_level": 1}).submit([bell()], shots=50, seed=1),
        sampler.submit([bell()], shots=50, seed=1, reuse="never"),
    ]

    assert (first.joined, again.joined) == (False, True)
    assert replace(again, joined=False) == first
    assert not any(other.joined for other in others)
    assert len({first.reference, *(other.reference for other in others)}) == 6 == len(service.ids())


def test_a_lost_ledger_pays_nothing_twice(service: Service, sampler: IBMSampler, tmp_path: Path) -> None:
    first, _ = sampled(sampler)

    reference, joined = sampled(IBMSampler(search=0.0, ledger_url=f"sqlite:///{tmp_path}/new.db"))

    assert (reference, joined) == (first, True)
    assert service.ids() == [first]


def test_a_job_in_another_instance_of_the_account_is_found(service: Service, sampler: IBMSampler) -> None:
    """The least busy device may be in any of them, and IBM's client looks only where it has been."""
    service.sends_to = "crn:2"
    job = sampler.submit([bell()], shots=50, seed=1)

    service.open = ["crn:1"]  # as in another process
    assert len(sampler.fetch(job).bits) == 50
    service.open = ["crn:1"]
    again = IBMSampler(search=0.0, ledger_url=f"sqlite:///{service.folder}/new.db")
    assert again.submit([bell()], shots=50, seed=1).reference == job.reference


def test_a_job_that_the_service_does_not_know_is_not_given_up(service: Service, sampler: IBMSampler) -> None:
    """It may be another account's: nothing is submitted again without a word."""
    job = sampler.submit([bell()], shots=50, seed=1)
    (service.folder / job.reference).rename(service.folder / "gone")

    with pytest.raises(ConfigurationError, match=f"knows no job {job.reference}"):
        sampler.fetch(job)

    assert sampler.submit([bell()], shots=50, seed=1).joined


def test_a_failed_job_is_told_and_submitted_anew(service: Service, sampler: IBMSampler) -> None:
    job = sampler.submit([bell()], shots=50, seed=1)
    service.job(job.reference).set(status="ERROR", error="error 8000: calibration")

    with pytest.raises(QuantumJobFailed, match="ended as ERROR: error 8000: calibration"):
        sampler.fetch(job)

    reference, joined = sampled(sampler)
    assert (joined, reference != job.reference) == (False, True)
    assert [str(row.state) for row in sampler.jobs()] == ["DONE", "FAILED"]


def test_a_job_that_is_not_over_is_waited_for(service: Service, sampler: IBMSampler) -> None:
    job = sampler.submit([bell()], shots=50, seed=1)
    at_service = service.job(job.reference)
    at_service.set(status="QUEUED")
    statuses = iter(["QUEUED", "QUEUED", "RUNNING", "DONE"])
    told: list[str] = []
    asked = service.job

    def changing(job_id: str) -> Any:
        found = asked(job_id)
        found.status = lambda: next(statuses)  # type: ignore[method-assign]
        return found

    service.job = changing  # type: ignore[method-assign]
    shots = sampler.collect(job, told.append, None)

    assert told == [f"job {job.reference} on ibm_miyazaki: {word}" for word in ("QUEUED", "RUNNING")]
    assert (shots.times.queue_wait_s, shots.times.execution_s, shots.times.quantum_s) == (60.0, 5.5, 3.0)


def test_time_that_is_not_counted_yet_is_not_said_to_be_nothing(service: Service, sampler: IBMSampler) -> None:
    job = sampler.submit([bell()], shots=50, seed=1)
    service.job(job.reference).set(usage={"qpu_charge_time_seconds": 0, "status": "pending"})

    assert sampler.fetch(job).times.quantum_s is None


def test_a_service_that_does_not_answer_ends_no_wait(service: Service, sampler: IBMSampler) -> None:
    job = sampler.submit([bell()], shots=50, seed=1)
    asked, troubles = service.job, [OSError("no route to host"), OSError("no route to host")]

    def troubled(job_id: str) -> Any:
        if troubles:
            raise troubles.pop()
        return asked(job_id)

    service.job = troubled  # type: ignore[method-assign]

    assert len(sampler.fetch(job).bits) == 50
    assert troubles == []


def test_a_submission_whose_answer_was_lost_is_looked_for_and_not_repeated(
    service: Service, sampler: IBMSampler
) -> None:
    """The service has taken the job, and the connection broke before it could say so."""
    add = service.add

    def broken(*arguments: Any, **more: Any) -> Any:
        add(*arguments, **more)
        raise OSError("connection reset by peer")

    service.add = broken  # type: ignore[method-assign]
    with pytest.raises(SchedulerUnavailable, match="connection reset by peer"):
        sampler.submit([bell()], shots=50, seed=1)
    (row,) = sampler.jobs()
    assert (row.owner, row.reference) == ("nobody", None)
    assert "connection reset" in row.reason
    service.add = add  # type: ignore[method-assign]

    assert sampled(sampler) == (service.ids()[0], True)
    assert len(service.ids()) == 1


def test_a_service_that_cannot_list_its_jobs_gets_none(service: Service, sampler: IBMSampler) -> None:
    def broken(**how: Any) -> Any:
        raise OSError("no route to host")

    service.jobs = broken  # type: ignore[method-assign]

    with pytest.raises(SchedulerUnavailable, match="could not list the jobs"):
        sampler.submit([bell()], shots=50, seed=1)
    assert service.ids() == []


def test_a_job_that_the_service_has_twice_is_told(service: Service, sampler: IBMSampler) -> None:
    first, _ = sampled(sampler)
    extra = service.add([bell()], 50, service.job(first).told["tags"])

    again = IBMSampler(search=0.0, ledger_url=f"sqlite:///{service.folder}/new.db")

    assert again.submit([bell()], shots=50, seed=1).reference == first
    assert again.jobs()[0].copies == (extra.job_id(),)


@pytest.mark.parametrize("verb", ["claim", "take_over", "beat", "submitted"])
def test_a_ledger_that_is_silent_during_a_submission_leaves_it_to_the_next_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """This process lives on, and a quarter of an hour would be waited for what it has claimed."""
    jobs = Ledger(f"sqlite:///{tmp_path}/ledger.db").quantum
    first, service = QuantumRow("a", "k", "ibm", "x", 1, "nobody"), list[str]()

    def send(row: QuantumRow) -> str:
        service.append(row.token)
        return "job-1"

    sender = Sender(send, lambda row: "job-1" if service else None, 0.0, "x", [], print)
    really = getattr(jobs, verb)

    def silent(*args: Any) -> Any:
        really(*args)
        raise LedgerUnavailable("the ledger does not answer: database is locked")

    if verb == "take_over":
        jobs.claim(first)
    asked = replace(first, owner=new_owner())
    with monkeypatch.context() as patch:
        patch.setattr(jobs, verb, silent)
        with pytest.raises(LedgerUnavailable):
            submit_once(jobs, asked, sender)
    began = time.monotonic()
    row, _ = submit_once(jobs, QuantumRow("b", "k", "ibm", "x", 1, new_owner()), sender)
    assert (row.reference, service) == ("job-1", ["a"])
    assert time.monotonic() - began < 60


def test_who_was_overtaken_does_not_submit(tmp_path: Path) -> None:
    """An owner that was silent for too long finds its claim taken when it wakes up, and takes the other's job."""
    jobs = Ledger(f"sqlite:///{tmp_path}/ledger.db").quantum
    mine = QuantumRow("a", "k", "ibm", "x", 1, new_owner())
    other = new_owner()

    def overtaken(row: QuantumRow) -> None:
        assert jobs.take_over(row, other)
        assert jobs.submitted(row.token, other, "job-2", "x", [])

    def send(row: QuantumRow) -> str:
        raise AssertionError("it was submitted twice")

    row, was_mine = submit_once(jobs, mine, Sender(send, overtaken, 0.0, "x", [], print))

    assert (row.reference, was_mine) == ("job-2", False)


def test_a_job_that_was_submitted_twice_all_the_same_is_told(tmp_path: Path) -> None:
    jobs = Ledger(f"sqlite:///{tmp_path}/ledger.db").quantum
    mine, other = QuantumRow("a", "k", "ibm", "x", 1, new_owner()), new_owner()
    told: list[str] = []

    def send(row: QuantumRow) -> str:
        seen = jobs.row(row.token)
        assert seen is not None
        assert jobs.take_over(seen, other)
        assert jobs.submitted(row.token, other, "job-2", "x", [])
        return "job-1"

    row, was_mine = submit_once(jobs, mine, Sender(send, lambda row: None, 0.0, "x", [], told.append))

    assert (row.reference, row.copies, was_mine) == ("job-2", ("job-1",), False)
    assert "this content twice" in told[0]
