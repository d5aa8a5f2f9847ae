"""The samples of SQD as two assets: a quantum job, which is there once it is submitted, and its bitstrings."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the assets.

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dagster_hpc.dagster_values import errors_as_failures
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.quantum.assets import QuantumConfig, quantum_config, reuse_of
from dagster_hpc.quantum.files import QuantumFiles
from dagster_hpc.quantum.metadata import quantum_metadata
from dagster_hpc.quantum.sampler import QuantumSampler
from dagster_hpc.quantum.values import QuantumJob
from dagster_hpc.sqd.files import SQDFiles
from dagster_hpc.sqd.measured import content_of, fetched, submitted
from dagster_hpc.sqd.metadata import samples_metadata
from dagster_hpc.sqd.molecule import signature_of
from dagster_hpc.sqd.sources import KrylovSource, LUCJSource, Source, source_of
from dagster_hpc.sqd.values import Hamiltonian, Samples


def quantum_samples(
    source: Source | str | Mapping[str, Any],
    name: str,
    sampler: str,
    shots: int,
    seed: int,
    hamiltonian_key: dg.AssetKey,
    options: Mapping[str, Any],
) -> list[dg.AssetsDefinition]:
    """`<name>_quantum_job` and `<name>_samples`. `options`: of the samples; the job has the same group and partitions."""
    circuit = source_of(source)
    if not isinstance(circuit, LUCJSource | KrylovSource):
        raise ConfigurationError(
            f"the source {circuit.kind} is no circuit that a sampler measures",
            advice="name lucj or krylov, or leave out the sampler.",
        )
    job_key = dg.AssetKey(f"{name}_quantum_job")

    def submit(context: dg.AssetExecutionContext, config: QuantumConfig, hamiltonian: Hamiltonian) -> Any:
        """The circuits of the molecule, submitted. It does not wait; the same circuits are not submitted twice."""
        with errors_as_failures(), hamiltonian.opened() as same:
            job = submitted(
                circuit, same, config.shots, config.seed, _sampler(context, sampler),
                reuse=reuse_of(config.reuse), context=context,
            )  # fmt: skip
        return dg.MaterializeResult(value=job, metadata=quantum_metadata(job))

    def fetch(context: dg.AssetExecutionContext, hamiltonian: Hamiltonian, quantum_job: QuantumJob) -> Any:
        """Bitstrings of the active space, as soon as the quantum job is over."""
        integrals = hamiltonian.integrals()
        with errors_as_failures():
            if quantum_job.content["content"] != content_of(circuit, integrals):
                raise ConfigurationError(
                    "the quantum job measured another circuit, or one of another Hamiltonian",
                    advice=f"materialize {job_key.to_user_string()} again.",
                )
            found = fetched(quantum_job, _sampler(context, sampler), integrals.norb, context=context)
        described = {**circuit.model_dump(mode="json"), "quantum_job": quantum_job.reference}
        made = Samples(
            found.bits, integrals.norb, integrals.nelec, quantum_job.content["seed"], described, signature_of(integrals)
        )
        return dg.MaterializeResult(
            value=made, metadata={**quantum_metadata(found.job, found.shots), **samples_metadata(made)}
        )

    submit.__annotations__["config"] = quantum_config(f"QuantumConfig_{name}", shots, seed)
    files = options["io_manager_def"]
    of_job = {
        **{key: value for key, value in options.items() if key != "dagster_type"},
        "io_manager_def": QuantumFiles(base_dir=files.base_dir if isinstance(files, SQDFiles) else None),
        "required_resource_keys": {sampler},
    }
    ins = {"hamiltonian": dg.AssetIn(hamiltonian_key)}
    return [
        dg.asset(key=job_key, ins=ins, **of_job)(submit),
        dg.asset(
            key=dg.AssetKey(f"{name}_samples"),
            ins={**ins, "quantum_job": dg.AssetIn(job_key)},
            required_resource_keys={sampler},
            **options,
        )(fetch),
    ]


def _sampler(context: dg.AssetExecutionContext, key: str) -> QuantumSampler:
    found: QuantumSampler = getattr(context.resources, key)
    return found
