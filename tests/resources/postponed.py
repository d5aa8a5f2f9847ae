"""Assets of a module with postponed annotations, as users write them."""

from __future__ import annotations

import dagster as dg

from dagster_hpc import Command, HPCJobConfig, hpc_asset


class CountConfig(HPCJobConfig):
    times: int = 1


@dg.asset
def samples() -> str:
    return "0110 it's $(quoted)"


@hpc_asset(profile="small", outputs={"count": "count.txt"})
def counted(samples: str, config: CountConfig) -> Command:
    """How long the samples are."""
    return Command.shell('printf "%s" "$1" | wc -c >count.txt; echo "$@"', args=[samples, str(config.times)])
