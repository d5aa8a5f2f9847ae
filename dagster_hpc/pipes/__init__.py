"""Dagster Pipes over any target: a job's program reports materializations, checks and log messages while it runs."""

from dagster_hpc.pipes.client import PipesHPCClient

__all__ = ["PipesHPCClient"]
