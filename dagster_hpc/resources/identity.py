"""When two requests mean the same job: the same call in the same step, with the same work to do; or the same key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import count

from dagster_hpc.engine.job import JobSpec
from dagster_hpc.resources.command import Circumstances
from dagster_hpc.resources.step import Context, Step, asset_key_of, partition_key_of, step_of


class CallCounter:
    """Numbers the equal calls within each attempt of each step: the third of a retry is the third of the first try.

    Only equal ones: threads come in another order at each attempt, and equal calls may stand for one another.
    """

    def __init__(self) -> None:
        self._calls: dict[tuple[str, ...], Iterator[int]] = {}

    def next(self, step: Step, work: str) -> int:
        attempt = (step.run_id, step.step_key, str(step.retry_number), work)
        return next(self._calls.setdefault(attempt, count()))  # no two threads get the same number from one iterator


@dataclass(frozen=True)
class Asker:
    """Who asks for a job, so that the same asker means the same job."""

    names: tuple[str, ...]  # without the partition
    partition_key: str = ""
    step: Step | None = None  # whose calls are numbered; None: all equal calls mean the same job


def asker_of(key: str | None, context: Context | None) -> Asker | None:
    """Who asks; None where every call is a job of its own.

    An asset is the same in every job and run; an op is known by its code location, its job and its step, the mapping
    key of a dynamic step included.
    """
    if key is not None:
        return Asker(("key", key))
    step = step_of(context)
    if context is None or step is None:
        return None
    asset = asset_key_of(context)
    place = ("asset", asset) if asset else ("op", step.code_location, step.job_name)
    return Asker((*place, step.path), partition_key_of(context) or "", step)


def identity_of(
    asker: Asker,
    spec: JobSpec,
    inputs: Mapping[str, bytes],
    target: str,
    calls: CallCounter,
    *,
    template: str = "",
    element: str = "",
) -> str:
    """Equal for two requests that mean the same job: by who asks, and by the work that is to be done.

    `element`: which of its equal neighbours an element of an array is. What makes it the same job is its own work, not
    that of its neighbours.
    """
    hashes = {name: digest for name, content in inputs.items() if (digest := _digest_of(content))}
    work = spec.fingerprint(target, {**hashes, "\0template": sha256(template.encode()).hexdigest()})
    wanted = "\0".join([*asker.names, asker.partition_key, element, work])
    number = calls.next(asker.step, wanted) if asker.step else 0
    return sha256(f"{wanted}\0{number}".encode()).hexdigest()[:40]


def _digest_of(content: bytes) -> str:
    return content.digest if isinstance(content, Circumstances) else sha256(content).hexdigest()
