"""Sensors that tell Dagster of jobs that no run waits for."""

from dagster_hpc.sensors.sensor import build_hpc_job_sensor

__all__ = ["build_hpc_job_sensor"]
