"""How much PJM takes: `pjstat --limit` counts the jobs of a user and a group, `pjacl` tells how large a job may be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.schedulers.base import Room
from dagster_hpc.engine.schedulers.pjm.words import is_error

# What counts jobs that wait or run: of a resource unit (ru-), or of a resource group (rg-). A bulk job is one job, its
# sub-jobs count apart. What counts running jobs only (ru-run-job) keeps a job waiting, and refuses none.
_JOBS = ("ru-accept", "rg-accept", "ru-accept-allsubjob", "rg-accept-allsubjob")
_BULK = ("ru-accept-bulksubjob", "rg-accept-bulksubjob")
_SECTION = re.compile(r"\s*(USER|GROUP|ALL|RSCUNIT|RSCGRP)\s*:?\s*(\S*)\s*")
_ROW = re.compile(r"\s*(r[ug]-[a-z-]+)\s+(\d{1,9})\s+(\d{1,9})\s*", re.ASCII)  # an unlimited one limits nothing


@dataclass(frozen=True)
class Limit:
    """One line of `pjstat --limit`."""

    name: str
    most: int
    taken: int


def room(answers: Sequence[Answer]) -> Room:
    """As many jobs as the tightest limit leaves; and of one array as many elements as every limit can allow.

    The sub-jobs that others of the group have now are not taken off: an array that has to wait for them is refused,
    and waits, which is better than one cut into crumbs.
    """
    limits = [answer for answer in answers if "--limit" in answer.argv]
    known = [limit for answer in limits for limit in counted(answer, asked(answers, "--rg"), asked(limits, "--group"))]
    left = [each.most - each.taken for each in known if each.name in _JOBS]
    most = [each.most for each in known if each.name in (*_JOBS, *_BULK)]
    most += [own for answer in answers if answer.argv[0] == "pjacl" and (own := acl_of(answer).bulk)]
    return Room(jobs=max(0, min(left)) if left else None, elements=max(1, min(most)) if most else None)


def asked(answers: Sequence[Answer], option: str) -> str:
    """The word behind this option of a question; '' where none has it."""
    pairs = (pair for answer in answers for pair in pairwise(answer.argv))
    return next((word for name, word in pairs if name == option), "")


def counted(answer: Answer, queue: str, project: str) -> Iterator[Limit]:
    """The limits that concern a job in this resource group for this group; none where the answer is an error."""
    if answer.code != 0 or is_error(answer.stdout + answer.stderr):
        return
    counts = True
    for line in answer.stdout.splitlines():
        if section := _SECTION.fullmatch(line):
            kind, name = section.groups()
            counts = {"GROUP": name == project, "RSCGRP": name == queue}.get(kind, True)
        elif counts and (row := _ROW.fullmatch(line)):
            yield Limit(row[1], int(row[2]), int(row[3]))


@dataclass(frozen=True)
class Acl:
    """What `pjacl --rg` allows; None: it does not say, or not in words that are known here."""

    least_nodes: int | None = None
    most_nodes: int | None = None
    longest_s: int | None = None
    bulk: int | None = None  # sub-jobs of one bulk job
    denied_groups: tuple[str, ...] = ()


def acl_of(answer: Answer) -> Acl:
    """Read from the figures of the lines that name node=, elapse= and bulk sub-jobs, in whichever order they stand.

    No such text is public: of a line only its least and its greatest figure are taken, so that a default between them
    does no harm.
    """
    if answer.code != 0 or is_error(answer.stdout + answer.stderr):
        return Acl()
    nodes = _figures(answer.stdout, r"(?<![\w-])node\b")
    times = _times(answer.stdout)
    bulk = _figures(answer.stdout, r"bulk-?sub-?jobs?\b")
    denied = re.findall(r"pjsub\b.*\bdeny\b.*?\bg\(([^)]{1,200})\)", answer.stdout)
    return Acl(
        least_nodes=min(nodes) if len(nodes) > 1 else None,
        most_nodes=max(nodes, default=None),
        longest_s=max(times, default=None),
        bulk=max(bulk, default=None),
        denied_groups=tuple(name.strip() for names in denied for name in names.split(",")),
    )


def _figures(text: str, name: str) -> list[int]:
    """The whole numbers behind this name; none where one is unlimited."""
    lines = [line for line in text.splitlines() if re.search(name, line)]
    if any("unlimited" in line for line in lines):
        return []
    return [int(each) for line in lines for each in re.findall(r"(?<![\w:.])\d{1,9}(?![\w:.])", line, re.ASCII)]


def _times(text: str) -> list[int]:
    """The durations in the lines of the elapse limit, in seconds; none where one is unlimited."""
    lines = [line for line in text.splitlines() if re.search(r"(?<![\w-])elapse\b", line)]
    if any("unlimited" in line for line in lines):
        return []
    clocks = [clock for line in lines for clock in re.findall(r"(\d{1,5}):(\d\d):(\d\d)", line, re.ASCII)]
    return [int(hours) * 3600 + int(minutes) * 60 + int(seconds) for hours, minutes, seconds in clocks]
