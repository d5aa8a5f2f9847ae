"""Tests of pipelines without a cluster: jobs are recorded and played back in the process of the test."""

from dagster_hpc.testing.play import Play
from dagster_hpc.testing.runner import PlayedRunner
from dagster_hpc.testing.submitted import Submitted

__all__ = ["Play", "PlayedRunner", "Submitted"]
