"""A quantum job and its shots → Dagster metadata."""

from __future__ import annotations

import dagster as dg

from dagster_hpc.dagster_values import number, text, timestamp
from dagster_hpc.metadata import job_metadata
from dagster_hpc.quantum.circuits import summed
from dagster_hpc.quantum.values import QuantumJob, Shots


def quantum_metadata(job: QuantumJob, shots: Shots | None = None) -> dict[str, dg.MetadataValue]:
    """What was submitted where, and what it took; with the figures of the batch job, where there was one.

    What nobody knows, or not yet, is null, never left out.

    Example:
        job = LocalSampler().submit([bell], shots=1000, seed=24)
        told = quantum_metadata(job, LocalSampler().fetch(job))
        print(told["backend"].value, told["execution_s"].value)
    """
    known = {
        "sampler": text(job.sampler),
        "backend": text(job.backend),
        "quantum_job": text(job.reference),
        "content_key": text(job.key),
        "shots": dg.MetadataValue.int(job.shots),
        "circuits": dg.MetadataValue.int(len(job.circuits)),
        **{name: number(value) for name, value in summed(job.circuits).items()},
        "submitted_before": dg.MetadataValue.bool(job.joined),
    }
    if shots is None:
        return known
    times, batch = shots.times, job_metadata(shots.result) if shots.result is not None else {}
    measured = {
        "queue_wait_s": number(times.queue_wait_s, digits=6),
        "execution_s": number(times.execution_s, digits=6),
        "quantum_s": number(times.quantum_s, digits=6),
        "submitted_at": timestamp(times.submitted_at),
        "started_at": timestamp(times.started_at),
        "ended_at": timestamp(times.ended_at),
    }
    return {**known, **measured, **batch}  # the scheduler knows best when its job waited
