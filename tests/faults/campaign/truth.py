"""What became of the jobs by all who could know: the lines that they left, Slurm's accounts, the ledger, the answers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow
from tests.systems.slurm import SlurmCluster

UNSETTLED = ("PENDING", "RUNNING", "REQUEUED", "SUSPENDED")  # in the accounts
_COPY = "94:0"


@dataclass(frozen=True)
class Run:
    """One time that a payload was started: the lines in the trace of its key."""

    key: str
    token: str
    job_id: str
    began: float
    ended: float | None = None


@dataclass(frozen=True)
class Account:
    """What sacct says of one job, or of one element of an array."""

    job_id: str
    name: str
    state: str
    code: str


@dataclass
class Findings:
    """What was found wrong. Every sentence is one violation."""

    doubled: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    misjudged: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)  # told to a client though another attempt would have done
    crashed: list[str] = field(default_factory=list)
    again_after_delivery: list[str] = field(default_factory=list)  # no violation: see `compare`

    @property
    def violations(self) -> list[str]:
        return [*self.doubled, *self.lost, *self.misjudged, *self.unsettled, *self.errors, *self.crashed]


def runs_of(traces: Path) -> list[Run]:
    runs: dict[tuple[str, str, str], Run] = {}
    doubled: list[Run] = []
    for path in sorted(traces.iterdir()):
        for line in path.read_text().splitlines():
            word, token, job_id, when = line.split()
            token = token if path.name.startswith("map") else token.partition(".")[0]
            at = (path.name, token, job_id)
            if word == "ended":
                runs[at] = Run(path.name, token, job_id, runs[at].began, float(when))
            elif at in runs:
                doubled.append(Run(path.name, token, job_id, float(when)))
            else:
                runs[at] = Run(path.name, token, job_id, float(when))
    return sorted([*runs.values(), *doubled], key=lambda run: run.began)


def accounts_of(cluster: SlurmCluster) -> list[Account]:
    said = cluster.run(
        ["sacct", "-X", "-n", "-P", "-D", "-S", "now-1days", "--format=JobID,JobName,State,ExitCode"]
    ).stdout
    accounts = []
    for line in said.splitlines():
        job_id, name, state, code = line.split("|")
        accounts.append(Account(job_id, name, state.partition(" ")[0], code))
    return accounts


def compare(
    rows: Sequence[JobRow],
    runs: Sequence[Run],
    accounts: Sequence[Account],
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
    codes: Mapping[str, int],
) -> Findings:
    """Hold against each other what everybody says.

    `answers`: what the clients of each key were told. `codes`: what each key's payload ends with.
    A result that was noted as delivered to a client who died in that moment, before it could say so, is counted apart:
    from the outside nobody can tell whether that client had it.
    """
    found = Findings()
    by_token = {row.token: row for row in rows}
    _look_for_doubles(found, runs, by_token, answers)
    by_id = {account.job_id: account for account in accounts}
    known = {one for row in rows for one in (row.job_id, *getattr(row, "copies", ())) if one}
    ran = {(run.token, run.job_id.partition("_")[0]): run for run in runs}
    for account in accounts:
        began = [run for run in runs if run.job_id == account.job_id.partition("_")[0]]
        if account.job_id not in known and began and account.code != _COPY:
            found.lost.append(f"job {account.job_id} ({account.name}) ran, and the ledger does not know it")
        if account.state in UNSETTLED:
            found.unsettled.append(f"job {account.job_id} ({account.name}) is {account.state} when all is over")
    for row in rows:
        _judge(found, row, by_id, ran, codes)
    for key, told in answers.items():
        for answer in told:
            for result in answer.get("results", ()):
                known_as = str(by_token[result["token"]].state) if result["token"] in by_token else "nothing"
                if known_as != result["state"]:
                    found.misjudged.append(f"{key} was told {result['state']}, and the ledger says {known_as}")
    return found


def _look_for_doubles(
    found: Findings,
    runs: Iterable[Run],
    rows: Mapping[str, JobRow],
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    elements: dict[str, list[Run]] = {}
    # Version 0.1.0 gave all elements of an array the same identity.
    counts = Counter((row.batch, row.identity) for row in rows.values())
    shared = {identity for (_, identity), count in counts.items() if count > 1}
    for run in runs:
        row = rows.get(run.token)
        index = "" if row is None or row.array_index is None else f".{row.identity}"
        if row is not None and row.array_index is not None and row.identity in shared:
            index += f".{row.array_index}"
        elements.setdefault(run.key + index, []).append(run)
    for name, times in elements.items():
        for earlier, later in itertools.pairwise(times):
            if earlier.token == later.token:
                found.doubled.append(f"{name} ran twice in one submission, as jobs {earlier.job_id} and {later.job_id}")
                continue
            was, again = rows.get(earlier.token), rows.get(later.token)
            if was is None or again is None:
                continue  # told where the ledger is compared
            if earlier.ended is None and was.state is not JobState.CANCELLED:
                found.doubled.append(f"{name} ran as {later.job_id} although {earlier.job_id} had not ended")
            elif was.state is JobState.COMPLETED:
                _look_at_second_run(found, name, was, again, answers.get(earlier.key, ()))


def _look_at_second_run(
    found: Findings, name: str, was: JobRow, again: JobRow, answers: Sequence[Mapping[str, Any]]
) -> None:
    heard = [a for a in answers if any(result["token"] == was.token for result in a.get("results", ()))]
    if heard and min(answer["at"] for answer in heard) <= again.created_at:
        return  # somebody had the result, and asked anew
    delivered_at = getattr(was, "delivered_at", None)
    sentence = f"{name} ran again as job {again.job_id} after {was.job_id} had ended well"
    if delivered_at is not None and delivered_at <= again.created_at:
        found.again_after_delivery.append(f"{sentence} and was noted as delivered")
    else:
        found.doubled.append(f"{sentence}, though nobody had its result")


def _judge(
    found: Findings,
    row: JobRow,
    accounts: Mapping[str, Account],
    ran: Mapping[tuple[str, str], Run],
    codes: Mapping[str, int],
) -> None:
    if not row.state.is_final:
        found.unsettled.append(f"{row.name} {row.token} is {row.state} when all is over: {row.reason}")
        return
    begun = [run for (token, _), run in ran.items() if token == row.token]
    if row.state in (JobState.REFUSED,) or row.job_id is None:
        if begun:
            found.misjudged.append(
                f"{row.name} {row.token} is {row.state} ({row.reason}), and ran as {begun[0].job_id}"
            )
        return
    account = accounts.get(row.job_id)
    if row.state is JobState.LOST:
        found.lost.append(f"{row.name} {row.token} (job {row.job_id}) is LOST; Slurm says {account}")
        return
    if account is None:
        found.misjudged.append(f"{row.name} {row.token} has the id {row.job_id}, which Slurm does not know")
        return
    if begun and begun[0].job_id != row.job_id.partition("_")[0]:
        found.misjudged.append(f"{row.name} {row.token} is told as {row.job_id}, and ran as {begun[0].job_id}")
    ended_well = any(run.ended is not None for run in begun) and codes.get(row.name, 0) == 0
    if row.state is JobState.COMPLETED:
        if not ended_well:
            found.misjudged.append(f"{row.name} {row.token} is {row.state} ({row.reason}); its trace says {begun}")
    elif account.state != str(row.state):
        found.misjudged.append(f"{row.name} {row.token} is {row.state} ({row.reason}); Slurm says {account}")
