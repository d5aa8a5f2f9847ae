"""Which jobs a request means: those that are there already, and those that are new. New ones are durable at once."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobResult, JobState, Own, Request, failure_of
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.ledger.rooms import KnownRoom, Route
from dagster_hpc.engine.ledger.rows import encode_rows
from dagster_hpc.engine.process import NOBODY, new_owner
from dagster_hpc.engine.schedulers import to_json
from dagster_hpc.engine.script import encode, render_script, script_files
from dagster_hpc.engine.submit.again import first_plan, kept_files
from dagster_hpc.engine.submit.recover import is_being_written
from dagster_hpc.engine.submit.room import RARELY_S, room_on
from dagster_hpc.engine.target import Target, script_stem
from dagster_hpc.engine.workplace import Workplace

_WRITING_S = 0.1  # between two looks whether the files of a job that is there are whole


@dataclass(frozen=True)
class Claimed:
    """What a request has become: its rows in the order asked for, and the submissions that are ours to send."""

    rows: list[JobRow]
    joined: frozenset[str]  # tokens of those that were there already
    to_send: list[list[JobRow]]


def claim(request: Request, work: Workplace) -> Claimed:
    """Find the jobs that are already there, claim the others, and write their files.

    Joining comes before room: a request for a job that is there waits for nothing. Each step is repeated by itself where
    the ledger does not answer: begun anew, this would take what it has claimed for somebody else's.
    """
    claimed: dict[int, JobRow] = {}
    to_send: list[list[JobRow]] = []
    while True:
        there = work.insist(lambda: _existing(request, work))
        if there is None:
            work.clock.sleep(_WRITING_S)
            continue
        found, given_up = there
        found |= claimed
        wanted = [index for index in range(len(request.spec.elements) or 1) if index not in found]
        for rows in _claim_new(request, wanted, work, given_up) if wanted else ():
            claimed |= zip(wanted, rows, strict=False)
            wanted = wanted[len(rows) :]
            if rows[0].state is JobState.SUBMITTING:
                to_send.append(rows)
        if not wanted:
            found |= claimed
            joined = frozenset(row.token for index, row in found.items() if index not in claimed)
            return Claimed([found[index] for index in range(len(found))], joined, to_send)
        # An equal request was quicker: look again.


def _existing(request: Request, work: Workplace) -> tuple[dict[int, JobRow], list[str]] | None:
    """The jobs that hold the request's identities, by element; and those that were delivered and give them up.

    None while the files of one of them are being written.
    """
    identities = _identities(request)
    if identities is None:
        return {}, []
    holders = work.ledger.claims.holders(identities)
    if any(is_being_written(row, work) for row in {row.batch: row for row in holders.values()}.values()):
        return None
    found: dict[int, JobRow] = {}
    given_up: list[str] = []
    for index, identity in enumerate(identities):
        row = holders.get(identity)
        if row is None:
            continue
        if row.state is JobState.LOST and not request.own:  # of an array it is this element's own end
            raise failure_of(JobResult(row.handle(joined=True), row.state, reason=row.reason))
        if row.state.is_success and _was_delivered(row, request.of(index).received or request.received, work):
            given_up.append(row.token)
        else:
            found[index] = row
    if request.reuse == "succeeded":
        finished = work.ledger.latest(
            [one for index, one in enumerate(identities) if index not in found], JobState.COMPLETED
        )
        for index, identity in enumerate(identities):
            done = finished.get(identity)
            if done is not None and index not in found and _has_outputs(done, work.target):
                found[index] = done
                given_up = [token for token in given_up if token != done.token]
    return found, given_up


def _claim_new(
    request: Request, wanted: Sequence[int], work: Workplace, given_up: Sequence[str]
) -> Iterator[list[JobRow]]:
    """Claim these elements (or the one job), in submissions that fit into the room, as far as nobody was quicker."""
    spec = request.spec
    route = Route(work.target.key, spec.queue, spec.project)
    room = work.insist(lambda: room_on(route, work, within_s=RARELY_S))
    size = _part_size(len(wanted), room, work.target.max_jobs) if spec.is_array else len(wanted)
    follows = ""
    for start in range(0, len(wanted), size):
        part = list(wanted[start : start + size])
        rows = _claim_batch(request, part, work, given_up if not start else (), room, follows)
        if rows is None:
            return
        # Each part of an array keeps to the limit of those that run at once; together they would not.
        follows = rows[0].batch if spec.element_limit else ""
        yield rows


def _part_size(count: int, room: KnownRoom, max_jobs: int | None) -> int:
    """How many elements of an array go in one submission: what may be taken at once, so that no part waits for ever."""
    limits = [limit for limit in (count, room.elements, max_jobs) if limit is not None]
    if room.most is None or room.arrays_are_one:
        return max(1, min(limits))
    return max(1, min(*limits, max(room.most, min(limits) // 10)))  # where little is free just now, it will be more


def _claim_batch(
    request: Request, elements: list[int], work: Workplace, given_up: Sequence[str], known: KnownRoom, follows: str
) -> list[JobRow] | None:
    """One submission, durable and with all its files; None if somebody was quicker."""
    target, claims = work.target, work.ledger.claims
    spec, token = request.spec, work.insist(claims.new_token)
    if spec.is_array:
        spec = spec.part(elements)
    directory = posixpath.join(request.work_root, script_stem(spec.name), token)
    script = render_script(spec, target.scheduler, directory=directory, token=token, template=target.template)
    identities, owner = _identities(request), new_owner()
    row = JobRow(
        token=token,
        batch=token,
        name=spec.name,
        target=target.key,
        cluster=target.cluster,
        scheduler=to_json(target.scheduler),
        work_dir=directory,
        state=JobState.SUBMITTING,
        created_at=work.clock.now(),
        identity=identities[elements[0]] if identities else None,
        partition_key=request.of(elements[0]).partition_key,
        together=request.of(elements[0]).together,
        deployment=request.deployment,
        queue=spec.queue,
        project=spec.project,
        script_sha256=hashlib.sha256(encode(script)).hexdigest(),
        outputs=dict(spec.outputs),
        asset_key=request.asset_key,
        run_id=request.run_id,
        step_key=request.step_key,
        owner=owner,
        follows=follows,
        retry=first_plan(request, target.host.user),
    )
    rows = [row]
    if spec.is_array:
        rows = [
            replace(
                row,
                token=f"{token}.{place}",
                array_index=place,
                work_dir=jobdir.element_directory(directory, place),
                identity=identities[index] if identities else None,
                partition_key=request.of(index).partition_key,
                together=request.of(index).together,
            )
            for place, index in enumerate(elements)
        ]
    work.clock.point("claim: before the row")
    # Its script is named last, once all files are there: until then nobody else can go on with it, or joins it.
    unwritten = [replace(one, script_sha256="") for one in rows]
    state = work.insist(lambda: claims.claim(unwritten, room=target.max_jobs, known=known, delivered=given_up))
    if state is None:
        return None
    work.clock.point("claim: after the row")
    rows = [replace(row, state=state, held_identity=row.identity) for row in rows]
    try:
        _place(replace(request, spec=spec), [request.of(index) for index in elements], rows, script, work)
    except ConfigurationError as error:
        why = error.message
        work.insist(lambda: claims.refuse(token, owner, why))
        raise
    work.clock.point("claim: after the files")
    if not work.insist(lambda: _declare_whole(rows[0], owner, work)):
        return None
    return [replace(row, owner=NOBODY) for row in rows] if state is JobState.READY else rows


def _declare_whole(row: JobRow, owner: str, work: Workplace) -> bool:
    """Tell the ledger that all files of this submission are there. False: it took so long that others refused it."""
    while not work.ledger.claims.placed(row.batch, owner, row.script_sha256, ready=row.state is JobState.READY):
        now = work.ledger.job(row.token)
        if now.state is JobState.REFUSED:
            return False
        if now.script_sha256 or not is_being_written(now, work):
            break  # only the answer was lost, or it was cancelled
        work.clock.sleep(_WRITING_S)
    return True


def _identities(request: Request) -> list[str] | None:
    """One identity for each element; None where every call is a job of its own."""
    if request.reuse == "never":
        return None
    identities = [request.of(index).identity for index in range(len(request.spec.elements) or 1)]
    return [identity for identity in identities if identity is not None] or None


def _was_delivered(row: JobRow, received: Callable[[str, str], bool | None], work: Workplace) -> bool:
    """Whether the result of this finished job has reached one who asked for it; then it may run again."""
    if row.delivered_at is not None:
        return True
    # A log that does not know the run cannot say that its step failed: then the ledger's own note counts.
    return any(received(*step) is not False for step in work.ledger.deliveries.recipients(row.token))


def _has_outputs(row: JobRow, target: Target) -> bool:
    """Whether all declared outputs are there and have something in them: the result of an earlier job can be taken."""
    paths = [posixpath.join(row.work_dir, path) for path in row.outputs.values()]
    return target.host.size(row.work_dir) is not None and all(target.host.size(path) for path in paths)


def _place(request: Request, own: Sequence[Own], rows: list[JobRow], script: str, work: Workplace) -> None:
    """Write the job's directory: script, inputs, what the script reads, and a copy of its rows in the ledger."""
    directory = rows[0].batch_dir
    of_elements = {
        f"{row.array_index}/{name}": content
        for row, each in zip(rows, own, strict=True)
        for name, content in each.inputs.items()
    }
    files = {
        **request.inputs,
        **of_elements,
        **script_files(request.spec),
        **kept_files(request, own, rows[0].retry, work.target.template),
        jobdir.protocol_path("", jobdir.ROW): encode_rows(rows),
        jobdir.script_name(work.target.scheduler.suffix): encode(script),  # the last: with it, all are there
    }
    folders = jobdir.folders(len(rows) if rows[0].array_index is not None else 0)
    place(directory, files, work.target, folders)


def place(directory: str, files: Mapping[str, bytes], target: Target, folders: Sequence[str] = ()) -> None:
    """Write these files for a job. What prevents that is for the user to correct."""
    try:
        target.host.place(directory, files, folders)
    except OSError as error:
        raise ConfigurationError(
            f"the job's files cannot be written on {target.host.name}: {error}",
            advice="check that work_root is writable and not full, and that the names of the inputs make legal paths.",
            work_dir=directory,
        ) from error
