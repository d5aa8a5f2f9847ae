"""What a test may look at: one job as it was submitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dagster_hpc.engine.job import JobSpec
from dagster_hpc.resources.command import Command


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """One job (or array) that was submitted: the command, how it was asked for, and the very script.

    `command`: as it was asked for; of an array, that of its first element.
    `args`: all words that the program gets, those of the launchpad too.
    `profile`: the name of the execution profile; empty where none was named.
    `spec`: the request with all names resolved and all units fixed, as in `spec.walltime_s`.
    `script`: the text that was submitted.
    `inputs`: the files placed in the job's directory, as text.
    `outputs`: the declared outputs, name → relative path.
    `elements`: of an array job, each as a job of its own; the inputs of an element are those that it has alone.

    Example:
        def count(job: Submitted) -> Play:
            return Play(stdout=f"{job.name} was given {job.args}")

        hpc.play("bitcount", count)
        hpc.run(Command("bitcount", args=["--input", "a.txt"]), profile="small")
        assert hpc.submitted[0].args == ("--input", "a.txt")
        assert "bitcount --input a.txt" in hpc.submitted[0].script
    """

    name: str  # what the queue shows
    command: Command
    args: tuple[str, ...]
    profile: str
    spec: JobSpec
    script: str = field(repr=False)
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    asset_key: str | None
    partition_key: str | None
    run_id: str | None
    job_id: str
    work_dir: str
    elements: tuple[Submitted, ...] = ()
