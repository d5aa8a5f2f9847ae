"""How much a scheduler takes just now, in its own words; what it has no room for waits in the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.ledger.rooms import UNLIMITED, KnownRoom, Route
from dagster_hpc.engine.workplace import Workplace

RARELY_S = 600.0  # limits change rarely, and one that was misjudged is only waited for
WHILE_TIGHT_S = 60.0  # jobs wait for room, and others make some


def room_on(route: Route, work: Workplace, *, within_s: float) -> KnownRoom:
    """What the scheduler says of its room on this route; asked anew if nobody has within this time."""
    calls = work.target.scheduler.room(work.target.host.user, route.queue, route.project)
    if not calls:
        return UNLIMITED
    known = work.ledger.rooms.known(route)
    if known and 0 <= work.ledger.now() - known.asked_at < within_s:
        return known
    if not work.ledger.rooms.begin(route, known):
        return known or UNLIMITED
    work.clock.point("room: before the question")
    return work.ledger.rooms.tell(route, work.target.scheduler.read_room(_answers(calls, work)))


def _answers(calls: Sequence[Call], work: Workplace) -> list[Answer]:
    """One for each call. A command that is not there tells nothing, and after one that hangs no other is tried."""
    answers: list[Answer] = []
    for call in calls:
        if answers and answers[-1].timed_out:
            answers.append(Answer(call.argv, None, "", "", call.about))
            continue
        try:
            answers.append(work.target.host.run(call))
        except FileNotFoundError as error:
            answers.append(Answer(call.argv, 127, "", str(error), call.about))
    return answers
