"""The order in which jobs start: a pure function of the queue, so that the daemon and `query` can never disagree."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dagster_hpc.local_batch.job import Job
from dagster_hpc.local_batch.spool import Capacity


class Turn(NamedTuple):
    """What happens to one pending job now: it starts, or `reason` says why not. `blocks`: nor does any after it."""

    job: Job
    starts: bool
    reason: str
    blocks: bool = False


def share(job: Job, capacity: Capacity) -> tuple[int, int]:
    """The cores and MiB a job takes; one that asks for more than the machine has gets the whole machine."""
    return min(job.cores, capacity.cores), min(job.memory_mib, capacity.memory_mib)


def turns(pending: Iterable[Job], occupying: Iterable[Job], capacity: Capacity) -> Iterator[Turn]:
    """First come, first served. Nothing passes a job that waits for room, or small ones would starve a big one;
    an element held back by its own array's limit is passed, since it waits for its siblings only."""
    running = list(occupying)
    shares = [share(job, capacity) for job in running]
    cores = capacity.cores - sum(taken for taken, _ in shares)
    memory = capacity.memory_mib - sum(taken for _, taken in shares)
    siblings = Counter(job.submission for job in running)
    head: Job | None = None
    for job in pending:
        need_cores, need_memory = share(job, capacity)
        if job.at_once is not None and siblings[job.submission] >= job.at_once:
            yield Turn(job, False, f"waits for its array, of which at most {job.at_once} run at once")
        elif head is not None:
            yield Turn(job, False, f"waits behind job {head.id}")
        elif need_cores > cores or need_memory > memory:
            head = job
            if need_cores > cores:
                reason = f"waits for {need_cores} {'core' if need_cores == 1 else 'cores'}, {max(cores, 0)} free"
            else:
                reason = f"waits for {need_memory} MiB of memory, {max(memory, 0)} free"
            yield Turn(job, False, reason, blocks=True)
        else:
            cores -= need_cores
            memory -= need_memory
            siblings[job.submission] += 1
            yield Turn(job, True, "is about to start")
