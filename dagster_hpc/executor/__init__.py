"""Any step of any Dagster job as a batch job."""

from dagster_hpc.executor.definition import hpc_executor

__all__ = ["hpc_executor"]
