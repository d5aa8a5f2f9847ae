"""Jobs of quantum computers: what was asked for, who submits it, and the reference that finds it again.

A job holds the key of its content until it has failed: one job of each content, whoever asks, and its samples are for
everybody. The row is there before anything is submitted. A submission has one owner, and whoever has been overtaken
changes nothing any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from typing import Any

import sqlalchemy as sa

from dagster_hpc.engine.clock import Clock
from dagster_hpc.engine.ledger.database import Database
from dagster_hpc.engine.ledger.schema import QUANTUM
from dagster_hpc.engine.process import NOBODY

_JSON = ("circuits", "times", "copies")
_SUBMITTING = QUANTUM.c.state == "SUBMITTING"
_SENT = QUANTUM.c.state.in_(["SUBMITTED", "DONE"])


class QuantumState(str, Enum):
    """How far a quantum job has come, as far as the ledger was told."""

    SUBMITTING = "SUBMITTING"  # claimed; whether the service has it is known once there is a reference
    SUBMITTED = "SUBMITTED"
    DONE = "DONE"  # its samples were fetched, and can be again
    FAILED = "FAILED"  # there are no samples and will be none: the key is free

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class QuantumRow:
    """One job of a quantum computer (or of what stands for one)."""

    token: str
    key: str  # of its content
    sampler: str
    backend: str
    shots: int
    owner: str
    state: QuantumState = QuantumState.SUBMITTING
    held_key: str | None = None
    reference: str | None = None  # what the service calls it
    circuits: tuple[Mapping[str, Any], ...] = ()  # size and depth of each, as submitted
    times: Mapping[str, Any] = field(default_factory=dict)
    copies: tuple[str, ...] = ()  # references of the same content that should not be there
    reason: str = ""
    asset_key: str | None = None
    run_id: str | None = None
    heartbeat_at: float = 0.0
    created_at: float = 0.0
    submitted_at: float | None = None
    updated_at: float = 0.0


class QuantumJobs:
    """The quantum jobs of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def clock(self) -> Clock:
        return self._database.clock

    def holder(self, key: str) -> QuantumRow | None:
        """The job of this content that is under way or whose samples can be fetched."""
        return self._first(QUANTUM.c.held_key == key)

    def row(self, token: str) -> QuantumRow | None:
        return self._first(QUANTUM.c.token == token)

    def recent(self, limit: int) -> list[QuantumRow]:
        """The latest jobs, newest first."""
        query = sa.select(QUANTUM).order_by(QUANTUM.c.created_at.desc()).limit(limit)
        return self._database.read(lambda connection: [_row_of(row) for row in connection.execute(query)])

    def claim(self, row: QuantumRow) -> QuantumRow | None:
        """Put this job down before it is submitted. The row that holds the content then: this one, or an earlier one's.

        None: an earlier one held it a moment ago and has failed since.
        """
        now = self._database.now()
        dated = {"held_key": row.key, "heartbeat_at": now, "created_at": now, "updated_at": now}
        statement = QUANTUM.insert().values({**_columns_of(row), **dated})
        # Refused where an equal job was quicker, or where this very claim was committed and the answer lost.
        with suppress(sa.exc.IntegrityError):
            self._database.write(lambda connection: connection.execute(statement))
        return self.holder(row.key)

    def take_over(self, seen: QuantumRow, owner: str) -> bool:
        """Become the one who settles a submission that its owner has left. False: somebody else was faster."""
        as_seen = (QUANTUM.c.owner == seen.owner) & (QUANTUM.c.heartbeat_at == seen.heartbeat_at)
        values = {"owner": owner, "heartbeat_at": self._database.now()}
        return self._change(seen.token, _SUBMITTING & as_seen, values)

    def beat(self, token: str, owner: str) -> bool:
        """The owner is about to submit. False: it has been overtaken and must not."""
        return self._change(token, _owned(owner), {"heartbeat_at": self._database.now()})

    def let_go(self, token: str, owner: str, reason: str) -> bool:
        """The owner broke off: whoever comes next looks whether the service has the job, and goes on."""
        return self._change(token, _owned(owner), {"owner": NOBODY, "reason": reason})

    def submitted(
        self, token: str, owner: str, reference: str, backend: str, circuits: Sequence[Mapping[str, Any]]
    ) -> bool:
        """The service has the job and this is its name there. False: somebody else has settled it meanwhile."""
        values = {
            "reference": reference, "backend": backend, "circuits": json.dumps(list(circuits)), "reason": "",
            "state": "SUBMITTED", "owner": NOBODY, "submitted_at": self._database.now(),
        }  # fmt: skip
        if self._change(token, _owned(owner), values):
            return True
        kept = self.row(token)  # the answer to the same word may have been lost
        return kept is not None and kept.reference == reference

    def add_copy(self, token: str, reference: str) -> None:
        """The service has this content twice, and this one is not the job's: a person has to know of it."""

        def add(connection: sa.Connection) -> None:
            its = QUANTUM.c.token == token
            known = json.loads(connection.execute(sa.select(QUANTUM.c.copies).where(its)).scalar_one())
            if reference not in known:
                connection.execute(QUANTUM.update().where(its).values(copies=json.dumps([*known, reference])))

        self._database.write(add)

    def done(self, token: str, times: Mapping[str, Any]) -> bool:
        """Its samples were read, and what it took is known."""
        return self._change(token, _SENT, {"state": "DONE", "times": json.dumps(dict(times))})

    def failed(self, token: str, reason: str) -> bool:
        """There are no samples and will be none: the next one who asks for this content submits it anew."""
        return self._change(token, _SENT, {"state": "FAILED", "reason": reason, "held_key": None})

    def _change(self, token: str, condition: sa.ColumnElement[bool], values: Mapping[str, Any]) -> bool:
        dated = {**values, "updated_at": self._database.now()}
        statement = QUANTUM.update().where(QUANTUM.c.token == token, condition).values(dated)
        return self._database.write(lambda connection: bool(connection.execute(statement).rowcount))

    def _first(self, condition: sa.ColumnElement[bool]) -> QuantumRow | None:
        query = sa.select(QUANTUM).where(condition)
        found = self._database.read(lambda connection: connection.execute(query).first())
        return None if found is None else _row_of(found)


def _owned(owner: str) -> sa.ColumnElement[bool]:
    return _SUBMITTING & (QUANTUM.c.owner == owner)


def _columns_of(row: QuantumRow) -> dict[str, Any]:
    texts = {name: json.dumps(list(getattr(row, name))) for name in ("circuits", "copies")}
    return {**asdict(row), **texts, "times": json.dumps(dict(row.times)), "state": row.state.value}


def _row_of(found: Any) -> QuantumRow:
    values = {one.name: getattr(found, one.name) for one in fields(QuantumRow)}
    values |= {name: json.loads(values[name]) for name in _JSON} | {"state": QuantumState(values["state"])}
    values |= {name: tuple(values[name]) for name in ("circuits", "copies")}
    return QuantumRow(**values)
