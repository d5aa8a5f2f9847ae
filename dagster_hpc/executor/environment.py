"""What a step finds in its environment on a compute node: what Dagster itself needs there, and what is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData

from dagster_hpc.resources.profile import ExecutionProfile

_PLACES = ("DAGSTER_HOME", "PYTHONPATH")  # where the instance and the code location are found
_OURS = "DAGSTER_HPC_"  # by which a code location chooses its target, and finds the ledger
_LEDGER = "DAGSTER_HPC_LEDGER"


def with_step_environment(
    profile: ExecutionProfile, wanted: Iterable[str], instance: InstanceRef | None
) -> ExecutionProfile:
    """The profile of a job that runs a step. What the profile itself sets goes before what comes from here.

    `wanted`: further variables of this process. They are secret, as is the address of a database.
    """
    secret = [*_variables_of(instance), _LEDGER, *wanted]
    plain = [*_PLACES, *(name for name in os.environ if name.startswith(_OURS))]
    names = [name for name in dict.fromkeys([*plain, *secret]) if name in os.environ and name not in profile.environments]
    return profile.with_overrides(
        {
            "environments": {**profile.environments, **{name: os.environ[name] for name in names}},
            "secret_environments": [*profile.secret_environments, *(name for name in names if name in secret)],
        }
    )


def _variables_of(instance: InstanceRef | None) -> Iterator[str]:
    """The variables that dagster.yaml reads, as in `password: {env: DAGSTER_PG_PASSWORD}`."""
    for part in instance or ():
        yield from _named_in(part.config_dict if isinstance(part, ConfigurableClassData) else part)


def _named_in(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        name = config.get("env")
        if len(config) == 1 and isinstance(name, str):
            yield name
        for value in config.values():
            yield from _named_in(value)
    elif isinstance(config, list):
        for value in config:
            yield from _named_in(value)
