"""The spool of one allocation: what stands where, who may take a step, and what became of each.

```
name                      what this spool is called, for the ledger
waits                     why steps wait that nobody has taken, as the keeper of the allocation last saw it
queue/<token>             a submission with steps that nobody has taken: a link to its submission.json
steps/<token>/submission.json
steps/<token>/<index>     this step is taken: by the holder whose name stands in it; or it is over (JSON), and never began
steps/<token>/<holder>.log   what became of the steps that this holder took, a line of JSON each
holders/<holder>/name     <holder>: a held job's token, and how often that job has begun
holders/<holder>/wishes/<token>_<index>   this step, which it runs, is to end
holders/<holder>/wishes/give-back         it is to take no more, and to end
holders/<holder>/used     it has taken a step
holders/<holder>/drains   a step waits that it cannot take, because its time is too short, or it takes no more at all
holders/<holder>/lost     there is no trace of it, nor of what it ran
holders/<holder>/over     it has ended, and all that it ran with it: state and reason (JSON)
allocations/<number>.begins   the held job of this generation is being submitted
allocations/<number>      its token; <number>.over once its end is known here
```

A step is taken by a link to `steps/<token>/<index>`, which succeeds once: so no step is started twice, and one that is
cancelled while it waits cannot begin any more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from dagster_hpc.step_batch.folder import Folder

GIVE_BACK = "give-back"
QUEUE, STEPS, HOLDERS, ALLOCATIONS, WAITS = "queue", "steps", "holders", "allocations", "waits"
DRAINS, OVER, LOST, USED = "drains", "over", "lost", "used"


class Submission(NamedTuple):
    """A step, or an array of them."""

    token: str
    name: str  # under which the engine looks it up
    script: str  # path
    output: str  # where it goes what the script says before it has its own logs; %a stands for the index
    submitted_at: float
    elements: int = 0  # 0: no array
    cores: int = 1  # of the whole step
    walltime_s: int = 0
    at_once: int = 0  # of an array at most so many; 0: any number
    signal: str = ""
    signal_before_s: int = 0
    on_this_node: bool = False  # it runs as a child of the holder, not under a launcher that finds room for it

    @property
    def indices(self) -> range:
        return range(max(1, self.elements))

    def id_of(self, index: int) -> str:
        return f"{self.token}_{index}" if self.elements else self.token


def make(folder: Folder) -> None:
    """Make the spool unless it is there."""
    for name in (QUEUE, STEPS, HOLDERS, ALLOCATIONS):
        folder.make(name)


def submit(folder: Folder, submission: Submission) -> None:
    """Queue this submission. One that is there already stays as it is, however often it is asked for."""
    place = f"{STEPS}/{submission.token}"
    folder.make(place)
    folder.create(f"{place}/submission.json", json.dumps(submission._asdict()).encode())
    folder.link(f"{place}/submission.json", f"{QUEUE}/{submission.token}")


def read(folder: Folder, token: str) -> Submission | None:
    text = folder.read(f"{STEPS}/{token}/submission.json")
    return None if text is None else Submission(**json.loads(text))


def split(step_id: str) -> tuple[str, int | None]:
    """`k7m2x9qd_3` → the submission, and the index of one of its steps."""
    token, _, index = step_id.partition("_")
    return token, int(index) if index.isdigit() else None


def named(folder: Folder, name: str) -> list[str]:
    """The tokens of submissions under this name, whose last part is the token, that were queued."""
    token = name.rpartition("_")[2]
    found = read(folder, token)
    if found is None or found.name != name:
        return []
    taken = set(folder.list(f"{STEPS}/{token}"))
    queued = folder.has(f"{QUEUE}/{token}") or all(str(index) in taken for index in found.indices)
    return [token] if queued else []


def cancel(folder: Folder, token: str, indices: Sequence[int], at: float) -> None:
    """End these steps: those that wait here and now, those that run by asking their holder."""
    end_waiting(folder, token, indices, "CANCELLED", "cancelled before it started", at)
    for index in indices:
        holder = (folder.read(f"{STEPS}/{token}/{index}") or b"").decode()
        if holder and not holder.startswith("{"):
            folder.create(f"{HOLDERS}/{holder}/wishes/{token}_{index}", b"")


def end_waiting(folder: Folder, token: str, indices: Sequence[int], state: str, reason: str, at: float) -> None:
    """Let these steps be over that nobody has taken, so that nobody can take them any more."""
    verdict = json.dumps({"state": state, "reason": reason, "at": at}).encode()
    taken = set(folder.list(f"{STEPS}/{token}"))
    for index in indices:
        if str(index) not in taken:
            folder.create(f"{STEPS}/{token}/{index}", verdict)
    leave_queue(folder, token)


def leave_queue(folder: Folder, token: str) -> bool:
    """Take a submission out of the queue of which no step waits any more. False while one does."""
    submission, taken = read(folder, token), set(folder.list(f"{STEPS}/{token}"))
    if submission is None or any(str(index) not in taken for index in submission.indices):
        return False
    folder.remove(f"{QUEUE}/{token}")
    return True


def tidy(folder: Folder) -> None:
    """Forget the submissions whose directories were removed, as `dagster-hpc prune --directories` does: they are over."""
    for token in folder.list(STEPS):
        submission = read(folder, token)
        if submission is None or folder.has(f"{QUEUE}/{token}") or folder.has(submission.script):
            continue
        # What says that there was such a submission goes last: a removal that breaks off can be repeated.
        for name in sorted(folder.list(f"{STEPS}/{token}"), key=lambda name: name == "submission.json"):
            folder.remove(f"{STEPS}/{token}/{name}")
        folder.remove_empty(f"{STEPS}/{token}")


def records(folder: Folder, token: str) -> list[dict[str, Any]] | None:
    """What is known of each step of this submission; None if there is no such submission."""
    submission = read(folder, token)
    if submission is None:
        return None
    is_queued = folder.has(f"{QUEUE}/{token}")  # looked at first: it leaves the queue when all are taken
    names = folder.list(f"{STEPS}/{token}")
    if is_queued and all(str(index) in names for index in submission.indices):
        leave_queue(folder, token)  # its last step was taken by one who does not take it out, or did not live to
    holders = [name[: -len(".log")] for name in names if name.endswith(".log")]
    told = {holder: _told_by(folder, token, holder) for holder in holders}
    waits = {"state": "PENDING", "reason": (folder.read(WAITS) or b"").decode()} if is_queued else {}
    found = []
    for index in submission.indices:
        if known := _taken(folder, token, index, told) if str(index) in names else waits:
            one = {"id": submission.id_of(index), "array_id": token, "name": submission.name, "cores": submission.cores}
            found.append({**one, "submitted_at": submission.submitted_at, **known})
    return found


class _Told(NamedTuple):
    """What is known of the steps of a submission that one holder took."""

    events: dict[int, dict[str, Any]]  # what it says of each
    over: dict[str, Any]  # what its end was for those that it ran; empty before that
    lost: bool


def _told_by(folder: Folder, token: str, holder: str) -> _Told:
    place = f"{HOLDERS}/{holder}"
    over = _json(folder.read(f"{place}/{OVER}"))  # before its log: who is over writes no more
    events: dict[int, dict[str, Any]] = {}
    for line in (folder.read(f"{STEPS}/{token}/{holder}.log") or b"").split(b"\n")[:-1]:
        event = _json(line)
        if "step" in event:
            events.setdefault(event.pop("step"), {}).update(event)
    return _Told(events, over, folder.has(f"{place}/{LOST}"))


def _taken(folder: Folder, token: str, index: int, told: dict[str, _Told]) -> dict[str, Any]:
    """What has become of a step that is taken; nothing where there is no trace of it any more."""
    holder = next((name for name, each in told.items() if index in each.events), "")
    if not holder:  # nobody has said anything of it yet
        text = (folder.read(f"{STEPS}/{token}/{index}") or b"").decode()
        if text.startswith("{"):
            verdict = json.loads(text)
            return {**verdict, "ended_at": verdict["at"]}
        holder = text
        told[holder] = _told_by(folder, token, holder)
    known = {"state": "RUNNING", "holder": holder, **told[holder].events.get(index, {})}
    if known["state"] != "RUNNING":
        return known
    return {} if told[holder].lost and not told[holder].over else {**known, **told[holder].over}


def _json(text: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(text or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
