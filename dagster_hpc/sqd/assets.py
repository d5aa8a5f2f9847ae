"""`build_sqd_assets`: molecule → samples → SQD result as typed assets, one partition for each geometry."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the assets, one of which is made below.

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from dagster_hpc.assets.config import given_overrides
from dagster_hpc.dagster_values import errors_as_failures
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.quantum.metadata import quantum_metadata
from dagster_hpc.sqd.checks import CHECKS, check_results
from dagster_hpc.sqd.config import SamplingConfig, SQDConfig, included_of, max_dim_of, policy_of, with_defaults
from dagster_hpc.sqd.curve import curve_asset
from dagster_hpc.sqd.dagster_types import HamiltonianType, SamplesType, SQDResultType
from dagster_hpc.sqd.files import SQDFiles, from_bytes, to_bytes
from dagster_hpc.sqd.loop import run_sqd
from dagster_hpc.sqd.measured import measured
from dagster_hpc.sqd.metadata import hamiltonian_metadata, samples_metadata, sqd_metadata
from dagster_hpc.sqd.molecule import Molecule, signature_of
from dagster_hpc.sqd.npz import write_whole
from dagster_hpc.sqd.quantum_assets import quantum_samples
from dagster_hpc.sqd.samples import sample_bitstrings
from dagster_hpc.sqd.sources import IBMSource, Source, source_of
from dagster_hpc.sqd.values import Hamiltonian, Iteration, Occupancies, Samples, SQDResult


def build_sqd_assets(
    molecule: Molecule | Mapping[str, Molecule] | Callable[[str], Molecule],
    *,
    name: str = "sqd",
    source: Source | str | Mapping[str, Any] = "uniform",
    shots: int = 10_000,
    seed: int = 24,
    sampler: str | None = None,
    solver: str | None = "dice",
    partitions_def: dg.PartitionsDefinition[str] | None = None,
    state_dir: str | None = None,
    files: SQDFiles | None = None,
    group_name: str = "chemistry",
    owners: Sequence[str] | None = None,
    **loop: Any,
) -> list[dg.AssetsDefinition]:
    """The assets `<name>_hamiltonian`, `<name>_samples` and `<name>_result`; with several geometries `<name>_curve` too.

    Args:
        molecule: One; or partition → molecule, a dissociation curve as a backfill; or a function of the partition key,
            with `partitions_def`.
        source: Of the bitstrings, as in `sample_bitstrings`.
        sampler: Resource key of a `QuantumSampler` that measures the circuit of the source ("lucj", "krylov"): one more
            asset, `<name>_quantum_job`, submits it, and `<name>_samples` fetches its shots.
        solver: Resource key of the `DiceSolver`; None: qiskit-addon-sqd's own solver, in the process of the step.
        state_dir: Where unfinished loops are kept; default: beside the assets' values.
        files: IO manager of the values.
        **loop: Defaults of `SQDConfig`, which the launchpad can change.

    Example:
        curve = {f"{r:.1f}": Molecule(geometry=f"N 0 0 0; N 0 0 {r}", basis="6-31g") for r in (1.0, 1.1, 1.3)}
        assets = build_sqd_assets(curve, name="n2", samples_per_batch=500)
    """
    if isinstance(molecule, Mapping) and partitions_def is None:
        partitions_def = dg.StaticPartitionsDefinition(list(molecule))
    if partitions_def is None and not isinstance(molecule, Molecule):
        raise ConfigurationError("a function of the partition key needs partitions_def")
    if partitions_def is not None and isinstance(molecule, Molecule):
        raise ConfigurationError("with partitions, give a molecule for each: a mapping or a function of the key")
    files = files or SQDFiles()
    sampling_config = with_defaults(SamplingConfig, f"SamplingConfig_{name}", {"shots": shots, "seed": seed})
    loop_config = with_defaults(SQDConfig, f"SQDConfig_{name}", loop)
    hamiltonian_key, samples_key, result_key = (
        dg.AssetKey(f"{name}_{part}") for part in ("hamiltonian", "samples", "result")
    )

    def make_hamiltonian(context: dg.AssetExecutionContext) -> Any:
        """Integrals of the active space in one fixed set of orbitals, with Hartree-Fock and CCSD."""
        with errors_as_failures():
            made = _kept_hamiltonian(_molecule_of(molecule, context), _state_folder(context, state_dir))
        return dg.MaterializeResult(value=made, metadata=hamiltonian_metadata(made))

    def make_samples(context: dg.AssetExecutionContext, config: SamplingConfig, hamiltonian: Hamiltonian) -> Any:
        """Bitstrings of the active space, from random numbers, a simulated circuit, a file or a quantum computer."""
        chosen, told = source_of(source), {}
        with errors_as_failures(), hamiltonian.opened() as same:
            if isinstance(chosen, IBMSource) and chosen.job_id is None:
                measurement = measured(chosen, same, config.shots, config.seed, context=context)
                bits, told = measurement.bits, quantum_metadata(measurement.job, measurement.shots)
            else:
                bits = sample_bitstrings(chosen, same, seed=config.seed, shots=config.shots)
            integrals = same.integrals()
        described = chosen.model_dump(mode="json")
        made = Samples(bits, integrals.norb, integrals.nelec, config.seed, described, signature_of(integrals))
        return dg.MaterializeResult(value=made, metadata={**told, **samples_metadata(made)})

    def make_result(
        context: dg.AssetExecutionContext, config: SQDConfig, hamiltonian: Hamiltonian, samples: Samples
    ) -> dg.MaterializeResult[SQDResult]:
        """The lowest state that configuration recovery finds, its convergence, and what its jobs cost."""
        found = _loop(context, config, hamiltonian, samples, solver, state_dir)
        return dg.MaterializeResult(
            value=found,
            metadata=sqd_metadata(found, ccsd_energy=hamiltonian.ccsd_energy),
            check_results=check_results(found, result_key, ccsd_energy=hamiltonian.ccsd_energy),
        )

    make_samples.__annotations__["config"] = sampling_config  # with the defaults that are given here
    make_result.__annotations__["config"] = loop_config
    del make_result.__annotations__["return"]  # Dagster reads it as that of the checks too
    common: dict[str, Any] = {
        "group_name": group_name, "owners": owners, "io_manager_def": files, "partitions_def": partitions_def,
    }  # fmt: skip
    of_hamiltonian = {"hamiltonian": dg.AssetIn(hamiltonian_key)}
    of_result: dict[str, Any] = {
        "ins": {**of_hamiltonian, "samples": dg.AssetIn(samples_key)},
        "kinds": {"python", "hpc"} if solver else {"python"},
        "required_resource_keys": {solver} if solver else set(),
        "check_specs": [dg.AssetCheckSpec(check, asset=result_key, description=said) for check, said in CHECKS.items()],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # io_manager_def
        hamiltonian: dg.AssetsDefinition = dg.asset(
            key=hamiltonian_key, kinds={"python", "pyscf"}, dagster_type=HamiltonianType, **common
        )(make_hamiltonian)
        of_samples: dict[str, Any] = {"kinds": {"python", "qiskit"}, "dagster_type": SamplesType, **common}
        if sampler:
            samples = quantum_samples(source, name, sampler, shots, seed, hamiltonian_key, of_samples)
        else:
            samples = [dg.asset(key=samples_key, ins=of_hamiltonian, **of_samples)(make_samples)]
        result: dg.AssetsDefinition = dg.asset(key=result_key, dagster_type=SQDResultType, **of_result, **common)(
            make_result
        )

    made = [hamiltonian, *samples, result]
    if isinstance(molecule, Mapping):
        made.append(curve_asset(dg.AssetKey(f"{name}_curve"), result_key, list(molecule), group_name, owners))
    return made


def _molecule_of(
    molecule: Molecule | Mapping[str, Molecule] | Callable[[str], Molecule], context: dg.AssetExecutionContext
) -> Molecule:
    if isinstance(molecule, Molecule):
        return molecule
    return molecule[context.partition_key] if isinstance(molecule, Mapping) else molecule(context.partition_key)


def _kept_hamiltonian(molecule: Molecule, folder: Path) -> Hamiltonian:
    """That of the first time: computed again, its orbitals differ in the last digits, and no loop could be resumed."""
    asked: list[Any] = [molecule.model_dump(mode="json"), version("pyscf")]
    if molecule.fcidump is not None:
        asked.append(hashlib.sha256(Path(molecule.fcidump).read_bytes()).hexdigest())
    file = folder / f"hamiltonian-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]}.npz"
    if file.exists():
        kept = from_bytes(file.read_bytes(), str(file))
        if isinstance(kept, Hamiltonian):
            return kept
    made = Hamiltonian.of(molecule)
    write_whole(file, to_bytes(made))
    return made


def _state_folder(context: dg.AssetExecutionContext, state_dir: str | None) -> Path:
    return Path(state_dir).expanduser() if state_dir else Path(context.instance.storage_directory(), "sqd-state")


def _loop(
    context: dg.AssetExecutionContext,
    config: SQDConfig,
    hamiltonian: Hamiltonian,
    samples: Samples,
    solver: str | None,
    state_dir: str | None,
) -> SQDResult:
    with errors_as_failures():
        if config.reuse not in ("succeeded", "never"):
            raise ConfigurationError(f"reuse is {config.reuse!r}; it is 'succeeded' or 'never'")
        if config.initial_occupancies not in ("ccsd", "hf", None):
            raise ConfigurationError(f"initial_occupancies is {config.initial_occupancies!r}; it is ccsd, hf or null")
        folder = _state_folder(context, state_dir)
        # A run that is to start anew still resumes itself when it is retried.
        key = context.run.root_run_id or context.run.run_id if config.reuse == "never" else ""
        how: dict[str, Any] = {}
        if solver:
            given = given_overrides(config.overrides)
            how = {"profile": config.profile, "overrides": given, "reuse": "succeeded" if not key else "running"}
        policy = policy_of(config)
        integrals = hamiltonian.integrals()
        start: Occupancies | None = None
        if config.initial_occupancies == "ccsd":
            start = hamiltonian.occupancies
        elif config.initial_occupancies == "hf":
            alpha, beta = ((np.arange(integrals.norb) < count).astype(float) for count in integrals.nelec)
            start = (alpha, beta)

        def told(iteration: Iteration) -> None:
            total = iteration.energy + integrals.core_energy
            context.log.info(
                f"iteration {iteration.number}: {total:.8f} Hartree, largest subspace {iteration.largest_subspace}, "
                f"{iteration.seconds:.1f} s"
            )

        return run_sqd(
            integrals,
            samples,
            samples_per_batch=config.samples_per_batch,
            seed=samples.seed,
            num_batches=config.num_batches,
            sci_solver=getattr(context.resources, solver) if solver else None,
            max_iterations=config.max_iterations,
            energy_tol=config.energy_tol,
            occupancies_tol=config.occupancies_tol,
            symmetrize_spin=config.symmetrize_spin,
            max_dim=max_dim_of(config),
            include_configurations=included_of(config.include_configurations),
            spin_sq=config.spin_sq,
            policy=policy,
            in_process_below=config.in_process_below,
            initial_occupancies=start,
            carryover_threshold=None if policy else config.carryover_threshold,
            state_dir=folder,
            key=key,
            callback=told,
            context=context if solver else None,
            **how,
        )
