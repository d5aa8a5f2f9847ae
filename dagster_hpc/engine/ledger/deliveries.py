"""A result is owed until it is received.

A job holds its identity until it has ended badly, or ended well and was delivered. Outside Dagster a result is
delivered when it is returned to the caller. A Dagster step that gets a result may still die before Dagster knows of
it: the ledger notes to which step it was returned, and the next claim looks into Dagster's own event log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger.database import Database, in_parts
from dagster_hpc.engine.ledger.schema import DELIVERIES, JOBS


class Recipient(NamedTuple):
    """The step of a Dagster run that a result was returned to."""

    run_id: str
    step_key: str


class Deliveries:
    """Which results have reached those who asked for them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def returned(self, tokens: Sequence[str], recipient: Recipient | None) -> None:
        """These results are in the caller's hands: noted for a step, and all there is to it for a plain script."""

        def note(connection: sa.Connection) -> None:
            now = self._database.now()
            for part in in_parts(tokens):
                if recipient is None:
                    well = JOBS.c.token.in_(part) & (JOBS.c.state == JobState.COMPLETED.value)
                    connection.execute(JOBS.update().where(well).values(held_identity=None, delivered_at=now))
                    continue
                step = (DELIVERIES.c.run_id == recipient.run_id) & (DELIVERIES.c.step_key == recipient.step_key)
                connection.execute(DELIVERIES.delete().where(DELIVERIES.c.token.in_(part), step))
                noted = DELIVERIES.insert().values(run_id=recipient.run_id, step_key=recipient.step_key, returned_at=now)
                for token in part:
                    connection.execute(noted.values(token=token))

        if tokens:
            self._database.write(note)

    def recipients(self, token: str) -> list[Recipient]:
        """The steps that this result was returned to."""
        return self.recipients_of([token]).get(token, [])

    def recipients_of(self, tokens: Sequence[str]) -> dict[str, list[Recipient]]:
        """The same for many results; those that were returned to no step are left out."""

        def look(connection: sa.Connection) -> dict[str, list[Recipient]]:
            found: dict[str, list[Recipient]] = {}
            for part in in_parts(tokens):
                some = DELIVERIES.c.token.in_(part)
                query = sa.select(DELIVERIES.c.token, DELIVERIES.c.run_id, DELIVERIES.c.step_key).where(some)
                for token, run_id, step_key in connection.execute(query):
                    found.setdefault(token, []).append(Recipient(run_id, step_key))
            return found

        return self._database.read(look)
