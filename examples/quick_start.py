"""A program as an asset that runs on any target of the site: `dagster dev -f examples/quick_start.py`."""

from pathlib import Path

import dagster as dg

from dagster_hpc import Command, Site, hpc_asset


@hpc_asset(profile="mpi-16")
def simulation() -> Command:
    """My HPC simulation: the code says WHAT runs, the site's file how and where."""
    return Command("simulation", args=["data.txt"], inputs={"data.txt": "0110\n1100\n"})


defs = dg.Definitions(
    assets=[simulation],
    resources={"hpc": Site.load(Path(__file__).with_name("site.toml")).runner()},
)
