"""How many jobs a PBS takes: the limits of its server and queues, and how many of a user's jobs count already.

`max_queued` counts what waits and what runs, each element of an array as one; `queued_jobs_threshold` only what waits.
A limit is for a user (u), a group (g), a project (p) or all together (o); one with a name goes before PBS_GENERIC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.schedulers.base import Room
from dagster_hpc.engine.schedulers.pbs.records import integer

_HEAD = re.compile(r"(?:Queue|Server): (\S+)\s*")
_LINE = re.compile(r" {4}([\w.]+) = (.*)")
_LIMIT = re.compile(r"""\[([ugpo]):["']?([^=\]"']+)["']?=(\d{1,18})\]""", re.ASCII)
_ALIVE, _WAITING = "EHQRSTUW", "HQTW"  # letters of states
_IDS = re.compile(r"^(\d{1,18})(?:(\[\])|(\[\d{1,9}\]))?\.\S+\s*$", re.ASCII | re.MULTILINE)


def sections(answer: Answer) -> dict[str, dict[str, str]]:
    """`qstat -Q -f` or `qstat -B -f`: the name of each queue or server, and its attributes."""
    found: dict[str, dict[str, str]] = {}
    name = ""
    for line in answer.stdout.replace("\n\t", "").split("\n") if answer.code == 0 else []:
        if head := _HEAD.fullmatch(line):
            name = head[1]
            found[name] = {}
        elif name and (match := _LINE.fullmatch(line)):
            found[name][match[1]] = match[2]
    return found


def questions(user: str, queue: str) -> list[Call]:
    """The limits of the queue and of the server, and for each of the two the user's jobs that are alive and that wait."""
    mine = ("qselect", "-u", user, "-T", "-s")
    there = ("-q", queue) if queue else ()
    return [
        Call(("qstat", "-Q", "-f", *([queue] if queue else []))),
        Call(("qstat", "-B", "-f")),
        Call((*mine, _ALIVE, *there)),
        Call((*mine, _ALIVE)),
        Call((*mine, _WAITING, *there)),
        Call((*mine, _WAITING)),
    ]


def room(answers: Sequence[Answer], most_elements: int | None) -> Room:
    """What the answers to `questions` leave. Limits of groups and projects are counted with the user's own jobs alone."""
    queues, servers = sections(answers[0]), sections(answers[1])
    alive_there, alive, waiting_there, waiting = (_count(answer) for answer in answers[2:])
    server = next(iter(servers.values()), {})
    asked = answers[0].argv[3:] or (server.get("default_queue", ""),)
    queue = queues.get(asked[0], {})
    user = answers[2].argv[2]
    waits = ("Queued", "Held", "Waiting")
    limits = [
        *_limits(queue.get("max_queued", ""), user, alive_there, _all(queue)),
        *_limits(server.get("max_queued", ""), user, alive, _all(server)),
        *_limits(queue.get("queued_jobs_threshold", ""), user, waiting_there, _all(queue, *waits)),
        *_limits(server.get("queued_jobs_threshold", ""), user, waiting, _all(server, *waits)),
        *_limits(f"[o:PBS_ALL={queue.get('max_queuable', '')}]", user, None, _all(queue)),
    ]
    sizes = [integer(where.get("max_array_size", "")) for where in (queue, server)]
    # An array that is larger than a limit on jobs would never be taken either.
    elements = [size for size in (*sizes, most_elements, *(most for most, _ in limits)) if size]
    left = [max(0, most - counted) for most, counted in limits]
    return Room(min(left, default=None), min(elements, default=None))


def _limits(value: str, user: str, mine: int | None, all_jobs: int) -> list[tuple[int, int]]:
    """The limits in one attribute, each with what counts towards it. One of 0 bars somebody: qsub has the better words."""
    said = {(kind, name): int(most) for kind, name, most in _LIMIT.findall(value)}
    own = said.get(("u", user), said.get(("u", "PBS_GENERIC")))
    shared = [said.get((kind, "PBS_GENERIC")) for kind in "gp"]
    found = [(most, mine) for most in (own, *shared) if most and mine is not None]
    together = said.get(("o", "PBS_ALL"))
    return [*found, (together, all_jobs)] if together else found


def _all(attributes: Mapping[str, str], *states: str) -> int:
    """Everybody's jobs in a queue or on a server, by `state_count = Transit:0 Queued:4 …`."""
    counts = dict(re.findall(r"(\w+):(\d{1,18})", attributes.get("state_count", ""), re.ASCII))
    return sum(int(count) for state, count in counts.items() if not states or state in states)


def _count(answer: Answer) -> int | None:
    """How many jobs qselect lists; an array counts by its elements, or as one where they are not listed."""
    if answer.code != 0:
        return None
    rows = _IDS.findall(answer.stdout)
    by_element = {number for number, _, element in rows if element}
    return sum(not (whole and number in by_element) for number, whole, _ in rows)
