"""Which cluster this is, in its own words: two of them on one ledger are told apart by what they are."""

from __future__ import annotations

from dataclasses import replace

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.target import Target


def ask_cluster(target: Target) -> str:
    """The name of the cluster that this target's commands reach; '' where the system has none.

    `SchedulerUnavailable` when it does not answer: a guess could make one cluster's jobs look lost to the other.
    """
    call = target.scheduler.identify()
    if call is None:
        return ""
    try:
        answer = target.host.run(call)
    except FileNotFoundError:
        return ""  # then nothing can be submitted from here either, and the submit command says so
    return target.scheduler.read_identity(answer)


def identified(target: Target) -> Target:
    """The target with the name of its cluster. One that already has a name is checked against what answers here."""
    found = ask_cluster(target)
    if target.cluster and found and found != target.cluster:
        raise ConfigurationError(
            f"these jobs are on the cluster {target.cluster!r}, and the {target.scheduler.kind} commands here reach "
            f"{found!r}",
            advice=f"ask where the commands of {target.cluster} are.",
        )
    return replace(target, cluster=found or target.cluster)
