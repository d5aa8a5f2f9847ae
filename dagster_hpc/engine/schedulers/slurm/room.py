"""How many more jobs Slurm takes of a user: which limits hold for a job, and how far they are used.

Slurm counts the elements of an array one each. It looks for a limit in this order, and the first place that sets it
holds: the quality of service (QOS) of the partition, that of the job, the user's association, the accounts above.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.schedulers.base import Room

_USUAL_QOS = "normal"  # of jobs that name none, where the association has no default either
_FIELD = re.compile(r"([\w/]+)=(\S*)")
_LIMIT_IN_USE = re.compile(r"(N|\d{1,10})?(?:\((\d{1,10})\))?", re.ASCII)  # `8(5)`: five of eight; `N(5)`: no limit
_LARGEST_ARRAY = re.compile(r"^(?:MaxArraySize|MaxJobCount)\s*=\s*(\d{1,10})\s*$|max_array_tasks=(\d{1,10})", re.M)
_ENFORCED = re.compile(r"^AccountingStorageEnforce\s*=\s*(\S+)", re.M)
_CLUSTER = re.compile(r"^ClusterName\s*=\s*(\S+)", re.M)


@dataclass(frozen=True)
class Limit:
    """A number of jobs that may be had at once, and how many there are."""

    jobs: int
    used: int = 0


def questions(user: str, queue: str, project: str) -> list[tuple[str, ...]]:
    """The commands whose answers `read` reads, in this order. Ordinary users may give them, unless the site forbids it."""
    return [
        ("scontrol", "show", "config"),
        ("scontrol", "-o", "show", "partition", *((queue,) if queue else ())),
        usage_question(user, project),
        ("sacctmgr", "-n", "-P", "show", "assoc", f"user={user}", "format=Cluster,Account,Partition,DefaultQOS"),
        ("sacctmgr", "-n", "-P", "show", "qos", "format=Name,GrpSubmitJobs,MaxSubmitJobsPU,MaxSubmitJobsPA"),
    ]


def usage_question(user: str, project: str) -> tuple[str, ...]:
    accounts = (f"accounts={project.lower()}",) if project else ()
    return ("scontrol", "-o", "show", "assoc_mgr", "flags=assoc,qos", f"users={user}", *accounts)


def read_usage(answer: Answer) -> Room:
    """What the answer to `usage_question` says alone: of a QOS only what has been used, and only of the usual one."""
    silence = Answer(("scontrol",), 1, "", "")
    return read([silence, silence, answer, silence, silence])


def largest_array(config: str) -> int | None:
    """The most elements that `scontrol show config` allows an array."""
    return min((int(size or tasks) for size, tasks in _LARGEST_ARRAY.findall(config)), default=None)


def read(answers: Sequence[Answer]) -> Room:
    """What these answers say. One that is missing says nothing, and then there may be more limits than are known."""
    if len(answers) != len(questions("", "", "")):
        return Room()
    config, partitions, usage, associations, qualities = (said.stdout if said.code == 0 else "" for said in answers)
    asked = dict(_FIELD.findall(" ".join(answers[2].argv)))
    partition = _partition(partitions)
    mine = _association(usage, asked.get("users", ""), asked.get("accounts", ""), partition.get("PartitionName", ""))
    account = mine.get("Account", "")
    job_qos = _default_qos(associations, _first(_CLUSTER, config), account, mine.get("Partition", ""))
    orders = [
        list(_of_qos(name, usage, qualities, account, mine.get("UserName", "")))
        for name in (partition.get("QoS", "N/A"), job_qos)
        if name not in ("", "N/A")
    ]
    limits = [limit for kind in ("group", "user", "account") if (limit := _first_set(kind, orders))]
    if not _first_set("user", orders) and not _first_set("account", orders):
        limits += _limits([mine.get("MaxSubmitJobs", "")])
    if not _first_set("group", orders):
        limits += _limits(record.get("GrpSubmitJobs", "") for record in [mine, *_accounts_above(usage, account)])
    if "limits" not in (_first(_ENFORCED, config) or "limits"):
        limits = []  # they stand in the database, and nobody looks at them
    largest = largest_array(config)
    arrays = [] if largest is None else [max(1, largest)]
    return Room(
        jobs=min((max(0, limit.jobs - limit.used) for limit in limits), default=None),
        # An array is taken whole or not at all: one that is larger than a limit never is.
        elements=min([*arrays, *(limit.jobs for limit in limits)], default=None),
    )


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""


# -- the job's place


def _partition(text: str) -> Mapping[str, str]:
    """The one that was asked for, or the default."""
    records = [dict(_FIELD.findall(line)) for line in text.splitlines() if line.startswith("PartitionName=")]
    return records[0] if len(records) == 1 else next((one for one in records if one.get("Default") == "YES"), {})


def _records(usage: str, kind: str) -> Iterator[dict[str, str]]:
    return (dict(reversed(_FIELD.findall(line))) for line in usage.splitlines() if line.startswith(kind))


def _association(usage: str, user: str, account: str, partition: str) -> Mapping[str, str]:
    """The user's in this account, or in the default one; one for the partition before one for all."""
    mine = [one for one in _records(usage, "ClusterName=") if user and one.get("UserName", "").startswith(f"{user}(")]
    here = [
        one
        for one in mine
        if (one.get("Account") == account if account else one.get("DefAssoc") == "Yes")
        and one.get("Partition", "") in ("", partition)
    ]
    return max(here, key=lambda one: one.get("Partition", ""), default={})


def _accounts_above(usage: str, account: str) -> Iterator[Mapping[str, str]]:
    """The account's own record, and those of the accounts that it is part of, as far as they were told."""
    accounts = {one.get("Account", ""): one for one in _records(usage, "ClusterName=") if not one.get("UserName")}
    while record := accounts.pop(account, None):
        yield record
        account = record.get("ParentAccount", "").partition("(")[0]


def _default_qos(associations: str, cluster: str, account: str, partition: str) -> str:
    rows = [cells for line in associations.splitlines() if len(cells := line.split("|")) == 4]
    found = {of: qos for where, name, of, qos in rows if qos and name == account and where == (cluster or where)}
    return found.get(partition) or found.get("") or _USUAL_QOS


# -- limits


def _of_qos(name: str, usage: str, qualities: str, account: str, user: str) -> Iterator[tuple[str, Limit]]:
    """(kind, limit): what it allows is told for each; how much is used, only of what has been used."""
    line = next((one for one in usage.splitlines() if one.startswith(f"QOS={name}(")), "")
    number = _first(re.compile(r"\((\d+)\)"), user)
    used = {
        "group": _first(re.compile(r"GrpSubmitJobs=(\S+)"), line),
        "user": _first(re.compile(rf"[ (]{number}\)?={{[^}}]*MaxSubmitJobsPU=(\S+)"), line) if number else "",
        "account": _first(re.compile(rf" {re.escape(account)}={{[^}}]*MaxSubmitJobsPA=(\S+)"), line),
    }
    row = next(
        (cells for one in qualities.splitlines() if (cells := one.split("|"))[0] == name and len(cells) == 4), []
    )
    for kind, allowed in zip(used, row[1:] or [""] * 3, strict=True):
        yield from ((kind, limit) for limit in _limits([used[kind]]) or _limits([allowed]))


def _first_set(kind: str, orders: Iterable[Iterable[tuple[str, Limit]]]) -> Limit | None:
    return next((limit for order in orders for name, limit in order if name == kind), None)


def _limits(texts: Iterable[str]) -> list[Limit]:
    """Of `8(5)`, `8`, `N(5)` and nothing: those that are limits."""
    matches = [match for text in texts if (match := _LIMIT_IN_USE.fullmatch(text))]
    return [Limit(int(match[1]), int(match[2] or 0)) for match in matches if match[1] not in (None, "N")]
