"""What each scheduler has said of its room, queue by queue: asked seldom, by one process for all that share the ledger."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger.database import Database
from dagster_hpc.engine.ledger.rows import JobRow
from dagster_hpc.engine.ledger.schema import JOBS, OVER, ROOMS, in_state
from dagster_hpc.engine.schedulers.base import Room

_ITS = (
    (ROOMS.c.target == sa.bindparam("of_target"))
    & (ROOMS.c.queue == sa.bindparam("of_queue"))
    & (ROOMS.c.project == sa.bindparam("of_project"))
)
_KNOWN = sa.select(ROOMS).where(_ITS)
_LIVE = (
    (JOBS.c.target == sa.bindparam("of_target")) & (JOBS.c.queue == sa.bindparam("of_queue"))
    & (JOBS.c.project == sa.bindparam("of_project")) & ~OVER & ~in_state((JobState.READY.value,))
)  # fmt: skip
# Live jobs of a route, as the system counts them: whether an array is one job → how many there are.
TAKEN = {
    False: sa.select(sa.func.count()).where(_LIVE),
    True: sa.select(sa.func.count(JOBS.c.batch.distinct())).where(_LIVE),
}


@dataclass(frozen=True)
class Route:
    """Where the jobs go that share a room: one queue of a target, for one project."""

    target: str
    queue: str
    project: str

    @property
    def binds(self) -> dict[str, str]:
        return {"of_target": self.target, "of_queue": self.queue, "of_project": self.project}


@dataclass(frozen=True)
class KnownRoom:
    """What was said last. None: it does not say, or does not limit that."""

    most: int | None = None  # live jobs of this ledger at once
    arrays_are_one: bool = False  # in that count an array is one job, and not as many as it has elements
    elements: int | None = None  # of one array
    asked_at: float = 0.0


UNLIMITED = KnownRoom()


def route_of(row: JobRow) -> Route:
    """The route that this job goes."""
    return Route(row.target, row.queue, row.project)


class Rooms:
    """The rooms of all targets of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, route: Route) -> KnownRoom | None:
        found = self._database.read(lambda connection: connection.execute(_KNOWN, route.binds).first())
        return KnownRoom(found.most, found.arrays_are_one, found.elements, found.asked_at) if found else None

    def begin(self, route: Route, seen: KnownRoom | None) -> bool:
        """Become the one who asks now. False: somebody else has begun to, since this was seen."""
        now = self._database.now()

        def begin(connection: sa.Connection) -> bool:
            if seen is None:
                row = {"target": route.target, "queue": route.queue, "project": route.project}
                connection.execute(ROOMS.insert().values(**row, asked_at=now))
                return True
            mine = ROOMS.update().where(_ITS, ROOMS.c.asked_at == seen.asked_at).values(asked_at=now)
            return bool(connection.execute(mine, route.binds).rowcount)

        try:
            return self._database.write(begin)
        except sa.exc.IntegrityError:
            return False

    def tell(self, route: Route, room: Room) -> KnownRoom:
        """Keep what was said: so many jobs may come in addition to ours that the scheduler has."""

        def tell(connection: sa.Connection) -> int | None:
            # What is being submitted just now the scheduler need not have counted.
            there = TAKEN[room.arrays_are_one].where(JOBS.c.job_id.is_not(None))
            ours = int(connection.execute(there, route.binds).scalar_one())
            most = None if room.jobs is None else ours + max(0, room.jobs)
            values = {"most": most, "arrays_are_one": room.arrays_are_one, "elements": room.elements}
            connection.execute(ROOMS.update().where(_ITS).values(**values), route.binds)
            return most

        return KnownRoom(self._database.write(tell), room.arrays_are_one, room.elements)
