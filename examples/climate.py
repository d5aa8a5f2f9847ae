"""Prepare, fan out over the files that are there, gather.

dagster asset materialize --select '*' -f climate.py --config-json '{"ops": {"prepare": {"config": {"run_dir": "run1"}}}}'
"""

from pathlib import Path

import dagster as dg
from cluster import hpc

from dagster_hpc import HPCJobRunner, hpc_python_asset


class Run(dg.Config):
    run_dir: str


@hpc_python_asset(profile="four", overrides={"walltime": "02:00:00"})
def prepare(config: Run) -> list[str]:
    """Download and preprocess input files."""
    return [str(f.absolute()) for f in sorted(Path(config.run_dir, "input").glob("*.nc"))]


def process(nc_file: str) -> str:
    """Process a single input file."""
    return str(Path(nc_file).parents[1] / "output" / Path(nc_file).name)


@dg.asset
def compute(context: dg.AssetExecutionContext, hpc: HPCJobRunner, prepare: list[str]) -> list[str]:
    return hpc.map_calls(process, prepare, context=context, profile="four")


@hpc_python_asset(profile="one")
def gather(compute: list[str]) -> str:
    return " ".join(Path(file).name for file in compute)


defs = dg.Definitions([prepare, compute, gather], resources={"hpc": hpc})
