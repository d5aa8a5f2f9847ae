"""Who submits which job: claims, room, and the one who may write down how a submission went.

Every method is one transaction and may be repeated. A submission has one owner; whoever has been overtaken changes
nothing any more, and is told so.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from dagster_hpc.engine.job import FINAL_STATES, JobState
from dagster_hpc.engine.ledger.database import Database, in_parts
from dagster_hpc.engine.ledger.leases import Leases
from dagster_hpc.engine.ledger.rooms import TAKEN, UNLIMITED, KnownRoom, Route, route_of
from dagster_hpc.engine.ledger.rows import JobRow, rows_of, to_columns
from dagster_hpc.engine.ledger.schema import GOES_ON, JOBS, OVER, in_state
from dagster_hpc.engine.process import NOBODY

_TOKEN_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_TOKEN_LENGTH = 8
_READY, _SUBMITTING = JobState.READY.value, JobState.SUBMITTING.value
_UNFINISHED = in_state((_READY, _SUBMITTING))
_BATCH: sa.BindParameter[str] = sa.bindparam("of_batch")
_TARGET: sa.BindParameter[str] = sa.bindparam("of_target")
_WAITING = (JOBS.c.target == _TARGET) & in_state((_READY,))
# Asked at every poll and every claim: made once.
_ANY_WAITING = sa.select(JOBS.c.token).where(_WAITING).limit(1)
_ROOM_TAKEN = sa.select(sa.func.count()).where(JOBS.c.target == _TARGET, ~OVER, ~in_state((_READY,)))
_ON_ROUTE = (JOBS.c.queue == sa.bindparam("of_queue")) & (JOBS.c.project == sa.bindparam("of_project"))
_ROUTE_WAITING = _ANY_WAITING.where(_ON_ROUTE)
_BEFORE = JOBS.alias()
_FOLLOWS_LIVE = (JOBS.c.follows != "") & sa.exists().where(
    _BEFORE.c.batch == JOBS.c.follows, ~in_state(FINAL_STATES, _BEFORE)
)
_OLDEST = sa.select(JOBS.c.batch).where(_WAITING, ~_FOLLOWS_LIVE).order_by(JOBS.c.created_at, JOBS.c.batch).limit(1)
_MARGIN = 20  # a twentieth of the room is left to jobs that others submit meanwhile
_OWNED = JOBS.update().where(JOBS.c.batch == _BATCH, JOBS.c.owner == sa.bindparam("by"), _UNFINISHED)
_YIELDS = JOBS.update().where(JOBS.c.token == sa.bindparam("old"), GOES_ON)  # once: then nothing is due any more
_IS_USED = sa.select(JOBS.c.token).where(JOBS.c.batch == _BATCH).limit(1)


class _Overtaken(Exception):
    """Nothing of this transaction shall be."""


class Claims:
    """The submissions of one ledger."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._database = database
        self._leases = leases

    def new_token(self) -> str:
        """A name for a submission that fits into the job name of every scheduler. Unused in this ledger."""
        while True:
            token = "".join(secrets.choice(_TOKEN_ALPHABET) for _ in range(_TOKEN_LENGTH))
            if not self._is_used(token):
                return token

    def holders(self, identities: Sequence[str]) -> dict[str, JobRow]:
        """The jobs that hold these identities now: live, or over and still owed to somebody."""

        def look(connection: sa.Connection) -> dict[str, JobRow]:
            found: dict[str, JobRow] = {}
            for part in in_parts(identities):
                wanted = JOBS.c.held_identity.in_(part)
                for row in rows_of(connection.execute(sa.select(JOBS).where(wanted))):
                    found[row.held_identity or ""] = row
            return found

        return self._database.read(look)

    def claim(
        self,
        rows: Sequence[JobRow],
        *,
        room: int | None,
        known: KnownRoom = UNLIMITED,
        delivered: Sequence[str] = (),
    ) -> JobState | None:
        """Insert the rows of one submission: SUBMITTING, or READY where there is no room for it. None: one is held.

        `room`: live jobs of the whole target at once. `known`: of its queue and project, as the scheduler says.
        `delivered` are tokens whose results have reached their steps: they give their identities up to this claim.
        """

        def claim(connection: sa.Connection) -> JobState:
            if delivered:
                connection.execute(
                    JOBS.update()
                    .where(JOBS.c.token.in_(delivered), JOBS.c.state == JobState.COMPLETED.value)
                    .values(held_identity=None, delivered_at=self._database.now())
                )
            why = ""
            if room is not None or known.most is not None:
                self._leases.lock(connection, rows[0].target)
                why = _no_room(connection, rows, room, known) or _others_wait(connection, rows[0], room)
            why = why or ("waits for the elements before it, as so many may run at once" if rows[0].follows else "")
            state = JobState.READY if why else JobState.SUBMITTING
            news = {"state": state.value, "reason": why}
            values = [{**to_columns(row), **news, "held_identity": row.identity} for row in rows]
            connection.execute(JOBS.insert(), values)
            now = self._database.now()
            connection.execute(JOBS.update().where(JOBS.c.batch == rows[0].batch).values(heartbeat_at=now))
            return state

        try:
            return self._database.write(claim)
        except sa.exc.IntegrityError:
            # Either an equal job was quicker, or this very claim was committed and the answer lost.
            query = sa.select(JOBS.c.owner, JOBS.c.state).where(JOBS.c.token == rows[0].token)
            mine = self._database.read(lambda connection: connection.execute(query).first())
            return JobState(mine.state) if mine and mine.owner == rows[0].owner else None

    def take_place(self, rows: Sequence[JobRow], of: Sequence[str]) -> bool:
        """Insert the rows of a further attempt, each in the place of the one that it is `of`, with its identity.

        False: somebody else has made this attempt, or it is wanted no more.
        """
        values = [{**to_columns(row), "held_identity": row.held_identity} for row in rows]

        def take(connection: sa.Connection) -> bool:
            now = self._database.now()
            for row, token in zip(rows, of, strict=True):
                yields = _YIELDS.values(next_token=row.token, again_at=None, held_identity=None, updated_at=now)
                if not connection.execute(yields, {"old": token}).rowcount:
                    raise _Overtaken
            connection.execute(JOBS.insert(), values)
            connection.execute(JOBS.update().where(JOBS.c.batch == rows[0].batch).values(heartbeat_at=now))
            return True

        try:
            return self._database.write(take)
        except _Overtaken:  # by somebody else; or by this very write, whose answer was lost
            return self._is_used(rows[0].batch)

    def next_ready(self, target: str, full: Iterable[Route] = ()) -> list[JobRow]:
        """The jobs that have waited longest for room on this target: one submission, for no route that is full."""
        closed = [(JOBS.c.queue == route.queue) & (JOBS.c.project == route.project) for route in full]
        oldest = _OLDEST.where(*(~each for each in closed)).scalar_subquery()
        query, asked = sa.select(JOBS).where(JOBS.c.batch == oldest), {"of_target": target}
        found = self._database.read(lambda connection: rows_of(connection.execute(query, asked)))
        return sorted(found, key=lambda row: row.array_index or 0)

    def fits(self, rows: Sequence[JobRow], room: int | None) -> bool:
        """Whether the target's own room is large enough just now; `admit` decides."""
        if room is None:
            return True
        return self._database.read(lambda connection: not _no_room(connection, rows, room, UNLIMITED))

    def admit(
        self, rows: Sequence[JobRow], owner: str, *, room: int | None, known: KnownRoom = UNLIMITED
    ) -> bool:
        """Begin to submit what was READY, if there is room for it now and nobody else has begun."""
        first = rows[0]

        def admit(connection: sa.Connection) -> bool:
            self._leases.lock(connection, first.target)
            begun = (JOBS.c.batch == first.batch) & (JOBS.c.state == _SUBMITTING) & (JOBS.c.owner == owner)
            if connection.execute(sa.select(JOBS.c.token).where(begun).limit(1)).first():
                return True  # by this very call, whose answer was lost
            if _no_room(connection, rows, room, known):
                return False
            now = self._database.now()
            as_seen = (JOBS.c.batch == first.batch) & (JOBS.c.state == _READY) & (JOBS.c.owner == first.owner)
            due = as_seen & (JOBS.c.not_before <= now)
            values = {"state": _SUBMITTING, "owner": owner, "heartbeat_at": now}
            return bool(connection.execute(JOBS.update().where(due).values(**values)).rowcount)

        return self._database.write(admit)

    def placed(self, batch: str, owner: str, script_sha256: str, *, ready: bool) -> bool:
        """All files of this submission are there; what is READY waits for whoever polls. False: it is not the owner's."""
        now = self._database.now()
        values = {"script_sha256": script_sha256, "heartbeat_at": now, "updated_at": now}
        return self._owned(batch, owner, **(values | {"owner": NOBODY} if ready else values))

    def let_go(self, batch: str, owner: str) -> bool:
        """The owner's part is done, or broke off: whoever comes next goes on with it."""
        return self._owned(batch, owner, owner=NOBODY)

    def begin_attempt(self, batch: str, owner: str) -> bool:
        """A submit command is about to start. False: somebody else owns it, or it was cancelled."""
        values: dict[str, object] = {"attempts": JOBS.c.attempts + 1, "heartbeat_at": self._database.now()}
        return self._owned(batch, owner, JOBS.c.cancel_requested.is_(False), **values)

    def beat(self, batch: str, owner: str) -> bool:
        """The owner lives and is still at it. False: it has been overtaken."""
        return self._owned(batch, owner, heartbeat_at=self._database.now())

    def take_over(self, row: JobRow, owner: str) -> bool:
        """Become the one who settles an unfinished submission; False if somebody else was faster."""
        as_seen = (JOBS.c.owner == row.owner) & (JOBS.c.heartbeat_at == row.heartbeat_at)
        mine = (JOBS.c.batch == row.batch) & (as_seen | (JOBS.c.owner == owner))  # the latter if the answer was lost
        values = {"owner": owner, "heartbeat_at": self._database.now()}
        statement = JOBS.update().where(mine, _UNFINISHED).values(**values)
        return self._database.write(lambda connection: bool(connection.execute(statement).rowcount))

    def submitted(self, ids: Mapping[str, str], owner: str, target: str, *, poll_within_s: float) -> bool:
        """Store {token: job id} and the state in one transaction, and let the next poll come soon.

        False: somebody else has settled this submission meanwhile, and these ids are not in the ledger.
        """
        store = (
            JOBS.update()
            .where(JOBS.c.token == sa.bindparam("t"), JOBS.c.owner == owner, JOBS.c.state == _SUBMITTING)
            .values(
                job_id=sa.bindparam("j"),
                state=JobState.PENDING.value,
                reason="",
                owner=NOBODY,
                updated_at=self._database.now(),
            )
        )
        first = next(iter(ids))

        def submitted(connection: sa.Connection) -> bool:
            connection.execute(store, [{"t": token, "j": job_id} for token, job_id in ids.items()])
            self._leases.sooner(connection, target, poll_within_s, jobs=1)
            stored = connection.execute(sa.select(JOBS.c.job_id).where(JOBS.c.token == first)).scalar_one()
            return bool(stored == ids[first])

        return self._database.write(submitted)

    def add_copies(self, ids: Mapping[str, Sequence[str]]) -> None:
        """The scheduler took a submission more than once: {token: further ids}. One of them runs, its lock says which."""

        def add(connection: sa.Connection) -> None:
            for token, more in ids.items():
                known = connection.execute(sa.select(JOBS.c.job_id, JOBS.c.copies).where(JOBS.c.token == token)).one()
                copies = dict.fromkeys([*json.loads(known.copies), *more])
                copies.pop(known.job_id, None)
                connection.execute(JOBS.update().where(JOBS.c.token == token).values(copies=json.dumps(list(copies))))

        self._database.write(add)

    def give_back(self, batch: str, owner: str, reason: str, *, after_s: float, certain: bool) -> bool:
        """The scheduler takes no more jobs now: wait in the ledger, and let whoever polls try again.

        `certain`: no command so far can have reached it, so that none has to be looked for.
        """
        now = self._database.now()
        values: dict[str, object] = {"not_before": now + after_s, "reason": reason, "updated_at": now}
        if certain:
            values["attempts"] = 0
        return self._owned(batch, owner, state=_READY, owner=NOBODY, **values)

    def refuse(self, batch: str, owner: str, reason: str, state: JobState = JobState.REFUSED) -> bool:
        """There is no such job and there will be none. Only its owner may say so."""
        values = {"reason": reason, "held_identity": None, "updated_at": self._database.now()}
        return self._owned(batch, owner, state=state.value, **values)

    def name_cluster(self, name: str, key: str, cluster: str) -> None:
        """Jobs of a ledger of version 0.1.0, which knew no clusters, belong to the first that asks for them."""
        unnamed = (JOBS.c.target == name) & (JOBS.c.cluster == "")
        query = sa.select(JOBS.c.token).where(unnamed).limit(1)
        if name != key and self._database.read(lambda connection: connection.execute(query).first()) is not None:
            statement = JOBS.update().where(unnamed).values(target=key, cluster=cluster)
            self._database.write(lambda connection: connection.execute(statement))

    def release(self, token: str) -> bool:
        """A person says that this job's identity may be used again. False: it holds none, or is live."""
        over = (JOBS.c.token == token) & JOBS.c.held_identity.is_not(None) & OVER & ~GOES_ON
        statement = JOBS.update().where(over).values(held_identity=None, updated_at=self._database.now())
        return self._database.write(lambda connection: bool(connection.execute(statement).rowcount))

    def reject(self, token: str) -> bool:
        """What this job left is not to be believed: it stands for no work any more. False: it is live."""
        over = (JOBS.c.token == token) & OVER
        statement = JOBS.update().where(over).values(identity=None, held_identity=None, updated_at=self._database.now())
        return self._database.write(lambda connection: bool(connection.execute(statement).rowcount))

    def _is_used(self, token: str) -> bool:
        asked = {"of_batch": token}
        return self._database.read(lambda connection: connection.execute(_IS_USED, asked).first() is not None)

    def _owned(self, batch: str, by: str, *conditions: sa.ColumnElement[bool], **values: object) -> bool:
        """Change an unfinished submission, if it is this owner's."""
        statement, whose = _OWNED.where(*conditions).values(**values), {"of_batch": batch, "by": by}
        return self._database.write(lambda connection: bool(connection.execute(statement, whose).rowcount))


def _live(connection: sa.Connection, target: str) -> int:
    return int(connection.execute(_ROOM_TAKEN, {"of_target": target}).scalar_one())


def _no_room(connection: sa.Connection, rows: Sequence[JobRow], room: int | None, known: KnownRoom) -> str:
    """Why these jobs do not fit in beside those that are live; '' if they do."""
    first = rows[0]
    if room is not None and _live(connection, first.target) + len(rows) > room:
        return f"waits for room: {room} jobs at once (max_jobs of the target)"
    if known.most is None:
        return ""
    more = 1 if known.arrays_are_one else len(rows)
    live = int(connection.execute(TAKEN[known.arrays_are_one], route_of(first).binds).scalar_one())
    if live + more <= (known.most - known.most // _MARGIN if live else known.most):
        return ""
    return f"waits for room: the scheduler takes {known.most} jobs at once just now"


def _others_wait(connection: sa.Connection, first: JobRow, room: int | None) -> str:
    """Who comes later waits behind those who wait already: for this target, or for this queue of it."""
    query = _ROUTE_WAITING if room is None else _ANY_WAITING
    return "waits for room behind other jobs" if connection.execute(query, route_of(first).binds).first() else ""
