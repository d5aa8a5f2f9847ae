"""When two requests mean the same job: the same call in the same step, with the same work to do; or the same key."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from dagster_hpc.engine.job import JobSpec
from dagster_hpc.resources.step import Context, asset_key_of, partition_key_of, step_of


class CallCounter:
    """Numbers the calls within each attempt of each step: the third call of a retry is the third of the first try."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, ...], int] = {}

    def next(self, context: Context) -> int:
        attempt = (context.run.run_id, step_of(context).step_key, str(context.retry_number))
        self._calls[attempt] = self._calls.get(attempt, -1) + 1
        return self._calls[attempt]


def identity_of(
    spec: JobSpec,
    inputs: Mapping[str, bytes],
    target: str,
    *,
    key: str | None,
    context: Context | None,
    calls: CallCounter,
    template: str = "",
) -> str | None:
    """Equal for two requests that mean the same job; None where every call is a job of its own.

    An asset is the same in every job and run; an op is known by its code location, its job and its step, the mapping
    key of a dynamic step included.
    """
    if key is not None:
        who = ["key", key]
    elif context is None:
        return None
    else:
        asset, step = asset_key_of(context), step_of(context)
        place = ["asset", asset] if asset else ["op", step.code_location, step.job_name]
        who = [*place, step.path, partition_key_of(context) or "", str(calls.next(context))]
    hashes = {name: sha256(content).hexdigest() for name, content in inputs.items()}
    work = spec.fingerprint(target, {**hashes, "\0template": sha256(template.encode()).hexdigest()})
    return sha256("\0".join([*who, work]).encode()).hexdigest()[:40]
