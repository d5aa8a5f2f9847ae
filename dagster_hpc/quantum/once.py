"""Submitted once: a row in the ledger before the service is told, and a look for the job wherever its end is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dagster_hpc.engine.errors import LedgerError
from dagster_hpc.engine.ledger.quantum import QuantumJobs, QuantumRow
from dagster_hpc.engine.process import process_lives

_LOOK_S = 0.2  # how often somebody looks who waits for another one's submission
_SILENT_S = 900.0  # so long may one submission take, from the claim or from the moment before it is sent


@dataclass(frozen=True)
class Sender:
    """How one submission is done: `send` hands it to the service, `find` looks there for one that was handed over."""

    send: Callable[[QuantumRow], str]
    find: Callable[[QuantumRow], str | None]
    search_s: float  # how long after a submission that broke off its job may turn up
    backend: str
    circuits: Sequence[Mapping[str, Any]]
    tell: Callable[[str], None]


def submit_once(jobs: QuantumJobs, wanted: QuantumRow, sender: Sender) -> tuple[QuantumRow, bool]:
    """The job of this content, and whether it was submitted here. It is submitted if nobody has, and nobody else does.

    Two who ask at the same moment: one submits, the other waits for the reference. Where one died in between, the next one
    looks at the service for the job before it submits.
    """
    clock, me = jobs.clock, wanted.owner
    token = wanted.token
    try:
        while True:
            row = jobs.claim(wanted)
            if row is None:
                continue
            clock.point("quantum: after the claim")
            if row.reference is not None:
                return row, False
            token, taken = row.token, row.owner != me
            if taken and (not _is_left(row, clock.now()) or not jobs.take_over(row, me)):
                clock.point("quantum: while another one submits")
                clock.sleep(_LOOK_S)
                continue
            done = _settle(jobs, row, sender, me, taken)
            if done is not None:
                return done
    except BaseException as error:
        with suppress(LedgerError):  # then it is taken over when this process is gone, or silent for long
            jobs.let_go(token, me, f"{type(error).__name__}: {error}"[:500])
        raise


def _is_left(row: QuantumRow, now: float) -> bool:
    """Whether nobody is at this submission any more."""
    silent = now - row.heartbeat_at > _SILENT_S
    return process_lives(row.owner) is False or silent


def _settle(jobs: QuantumJobs, row: QuantumRow, sender: Sender, me: str, taken: bool) -> tuple[QuantumRow, bool] | None:
    """Find the job or submit it, and write its reference down. None: somebody else has overtaken this one."""
    clock, found = jobs.clock, sender.find(row)
    while found is None and taken and clock.now() - row.heartbeat_at < sender.search_s:
        clock.sleep(min(_LOOK_S, sender.search_s))
        found = sender.find(row)
    reference = found
    if reference is None:
        if not jobs.beat(row.token, me):
            return None
        clock.point("quantum: before the submission")
        reference = sender.send(row)
        clock.point("quantum: after the submission")
    # A job that was found has the circuits that were prepared for it first.
    circuits = sender.circuits if found is None or not row.circuits else row.circuits
    if jobs.submitted(row.token, me, reference, sender.backend, circuits):
        kept = jobs.row(row.token)
        assert kept is not None
        return kept, found is None
    if found is None:
        jobs.add_copy(row.token, reference)
        sender.tell(
            f"the service has this content twice: job {reference} was submitted after {_SILENT_S:g} s of silence, when "
            "somebody else had taken the submission over. Cancel one of them."
        )
    return None
