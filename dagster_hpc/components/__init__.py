"""Pipelines without Python: what a `defs.yaml` says becomes `hpc_asset`s. `HPCJobComponent` is the way in."""

from dagster_hpc.components.component import HPCJobComponent
from dagster_hpc.components.job import Job

__all__ = ["HPCJobComponent", "Job"]
