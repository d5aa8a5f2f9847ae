"""Sensors that tell Dagster of jobs that no run waits for, of jobs that end, and of files that appear."""

from dagster_hpc.sensors.ended_job import EndedJob
from dagster_hpc.sensors.in_progress import hpc_job_in_progress
from dagster_hpc.sensors.job_ended import build_job_ended_sensor
from dagster_hpc.sensors.new_files import build_new_files_sensor
from dagster_hpc.sensors.sensor import build_hpc_job_sensor

__all__ = [
    "EndedJob",
    "build_hpc_job_sensor",
    "build_job_ended_sensor",
    "build_new_files_sensor",
    "hpc_job_in_progress",
]
