"""`build_sqd_assets`: molecule → samples → SQD result as typed assets, one partition for each geometry."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the assets, one of which is made below.

import base64
import hashlib
import io
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
import numpy as np
from pydantic import Field, create_model

from dagster_hpc.engine.errors import ConfigurationError, HPCError
from dagster_hpc.metadata import TAG_JOB_ID
from dagster_hpc.resources.profile import ProfileOverrides
from dagster_hpc.sqd.molecule import MolecularIntegrals, Molecule
from dagster_hpc.sqd.run import (
    MILLI,
    Iteration,
    Occupancies,
    SQDResult,
    StateUnreadable,
    _packed,
    _plain,
    _strings,
    _unpacked,
    _words,
    _write,
    run_sqd,
)
from dagster_hpc.sqd.samples import Source, counts_of, sample_bitstrings

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from upath import UPath

_LEADING = 10
_SUMS = ("node_hours", "cpu_time_s", "elapsed_s", "energy_j")
_MOST = ("queue_wait_s", "max_rss_mib")


# ------------------------------------------------------------------------------------------------------------ typed values


@dataclass(frozen=True)
class Hamiltonian:
    """A molecule in the very orbitals in which it is sampled and diagonalized, as text: the same in every process."""

    molecule: Molecule
    fcidump: str
    spin: int
    reference_energy: float
    ccsd_energy: float | None  # None where CCSD does not converge
    occupancies: Occupancies  # of CCSD, else of the reference determinant

    @classmethod
    def of(cls, molecule: Molecule) -> "Hamiltonian":
        from dagster_hpc.dice.fcidump import fcidump_bytes, integrals_of

        h, eri, core, _, nelec = molecule.integrals()
        text = fcidump_bytes(integrals_of(h, eri, core), nelec).decode()
        unsolved = cls(molecule, text, nelec[0] - nelec[1], molecule.hf_energy(), None, ((), ()))  # type: ignore[arg-type]
        with unsolved.opened() as same:  # amplitudes and occupancies in the orbitals of the text
            amplitudes = same.amplitudes()
            return replace(
                unsolved,
                ccsd_energy=unsolved.reference_energy + amplitudes.correlation_energy if amplitudes.converged else None,
                occupancies=same.initial_occupancies(),
            )

    def opened(self) -> "_Opened":
        """A `Molecule` of the text, for as long as the block lasts."""
        return _Opened(self)

    def integrals(self) -> MolecularIntegrals:
        with self.opened() as molecule:
            return molecule.integrals()


class _Opened:
    def __init__(self, hamiltonian: Hamiltonian) -> None:
        self._hamiltonian, self._folder = hamiltonian, TemporaryDirectory(prefix="dagster-hpc-sqd-")

    def __enter__(self) -> Molecule:
        path = Path(self._folder.name) / "fcidump.txt"
        path.write_text(self._hamiltonian.fcidump)
        return Molecule.from_fcidump(path, spin=self._hamiltonian.spin)

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


@dataclass(frozen=True)
class Samples:
    """Bitstrings of an active space, alpha in the right half, and where they come from."""

    bitstrings: "NDArray[np.bool_]"
    norb: int
    nelec: tuple[int, int]
    seed: int
    source: Mapping[str, Any]

    @property
    def right_electrons(self) -> float:
        """The share of the shots with the right numbers of electrons."""
        alpha, beta = self.bitstrings[:, self.norb :].sum(axis=1), self.bitstrings[:, : self.norb].sum(axis=1)
        return float(np.mean((alpha == self.nelec[0]) & (beta == self.nelec[1])))


def _check_hamiltonian(_: Any, value: Any) -> dg.TypeCheck:
    if not isinstance(value, Hamiltonian):
        return dg.TypeCheck(False, f"a {type(value).__name__} is no Hamiltonian")
    if not isfinite(value.reference_energy) or "&END" not in value.fcidump.upper():
        return dg.TypeCheck(False, "a Hamiltonian needs a finite reference energy and the text of an FCIDUMP")
    return dg.TypeCheck(True)


def _check_samples(_: Any, value: Any) -> dg.TypeCheck:
    if not isinstance(value, Samples):
        return dg.TypeCheck(False, f"a {type(value).__name__} is no Samples")
    bits = value.bitstrings
    if bits.dtype != bool or bits.ndim != 2 or not len(bits) or bits.shape[1] != 2 * value.norb:
        return dg.TypeCheck(False, f"{bits.dtype} of shape {bits.shape} are no bitstrings of {value.norb} orbitals")
    return dg.TypeCheck(True)


def _check_result(_: Any, value: Any) -> dg.TypeCheck:
    if not isinstance(value, SQDResult):
        return dg.TypeCheck(False, f"a {type(value).__name__} is no SQDResult")
    if not isfinite(value.energy) or not value.iterations:
        return dg.TypeCheck(False, "an SQDResult needs a finite energy and at least one iteration")
    return dg.TypeCheck(True)


HamiltonianType = dg.DagsterType(_check_hamiltonian, name="Hamiltonian", typing_type=Hamiltonian)
SamplesType = dg.DagsterType(_check_samples, name="Samples", typing_type=Samples)
SQDResultType = dg.DagsterType(_check_result, name="SQDResult", typing_type=SQDResult)


# -------------------------------------------------------------------------------------------------------------- IO manager


class SQDFiles(dg.ConfigurableIOManagerFactory):  # type: ignore[type-arg]
    """Stores the values of these assets as npz with a JSON header: exact, one file per partition, never pickle."""

    base_dir: str | None = Field(
        default=None, description="Folder of the files; default: the storage folder of the Dagster instance."
    )

    def create_io_manager(self, context: dg.InitResourceContext) -> "_Files":
        from upath import UPath

        if self.base_dir is None and context.instance is None:
            raise ConfigurationError("SQDFiles has no base_dir, and there is no Dagster instance with one")
        return _Files(UPath(self.base_dir or context.instance.storage_directory()))  # type: ignore[union-attr]


class _Files(dg.UPathIOManager):
    extension = ".npz"

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: "UPath") -> None:
        unfinished = path.with_name(f"{path.name}.unfinished")
        unfinished.write_bytes(to_bytes(obj))
        unfinished.rename(path)  # a reader meets the old file or the new one

    def load_from_path(self, context: dg.InputContext, path: "UPath") -> Any:
        return from_bytes(path.read_bytes(), str(path))


def to_bytes(value: Any) -> bytes:
    """The contents of a file."""
    header: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    if isinstance(value, Hamiltonian):
        header = {
            "molecule": value.molecule.model_dump(mode="json"), "fcidump": value.fcidump, "spin": value.spin,
            "reference_energy": value.reference_energy, "ccsd_energy": value.ccsd_energy,
        }  # fmt: skip
        arrays = {"alpha": value.occupancies[0], "beta": value.occupancies[1]}
    elif isinstance(value, Samples):
        header = {"norb": value.norb, "nelec": value.nelec, "seed": value.seed, "source": dict(value.source)}
        arrays = {"bits": np.packbits(value.bitstrings, axis=1)}
    elif isinstance(value, SQDResult):
        header, arrays = _result_parts(value)
    else:
        raise TypeError(f"SQDFiles stores Hamiltonian, Samples and SQDResult, not {type(value).__name__}")
    text = json.dumps({"kind": type(value).__name__, **header}, default=_plain).encode()
    return _packed({"header": np.frombuffer(text, np.uint8), **arrays})


def from_bytes(data: bytes, name: str = "this file") -> Any:
    """What `to_bytes` was given."""
    arrays = _unpacked(data, Path(name))
    if "header" not in arrays:
        raise StateUnreadable(f"{name} was not written by SQDFiles")
    header = json.loads(arrays["header"].tobytes())
    kind = header.pop("kind")
    if kind == "Hamiltonian":
        molecule = Molecule.model_validate(header.pop("molecule"))
        return Hamiltonian(molecule=molecule, occupancies=(arrays["alpha"], arrays["beta"]), **header)
    nelec = (int(header["nelec"][0]), int(header["nelec"][1]))
    if kind == "Samples":
        bits = np.unpackbits(arrays["bits"], axis=1, count=2 * header["norb"]).astype(bool)
        return Samples(**{**header, "nelec": nelec, "bitstrings": bits})
    return _result_of({**header, "nelec": nelec}, arrays)


def _result_parts(result: SQDResult) -> "tuple[dict[str, Any], dict[str, NDArray[Any]]]":
    arrays = {"alpha": result.occupancies[0], "beta": result.occupancies[1]}
    rows = []
    for one in result.iterations:
        row = asdict(replace(one, occupancies=(), carryover=()))  # type: ignore[arg-type]
        del row["occupancies"], row["carryover"]
        rows.append(row)
        pairs = {
            "occupancies": one.occupancies,
            "carryover": (_words(one.carryover[0]), _words(one.carryover[1])),
        }
        arrays |= {f"{one.number}.{name}.{place}": pair[place] for name, pair in pairs.items() for place in (0, 1)}
    state = result.sci_state
    if state is not None:
        strings = {"strings_a": _words(state.ci_strs_a), "strings_b": _words(state.ci_strs_b)}
        arrays |= {"amplitudes": state.amplitudes, **strings}
    bare = asdict(replace(result, occupancies=(), sci_state=None, iterations=()))  # type: ignore[arg-type]
    del bare["occupancies"], bare["sci_state"]
    return {**bare, "iterations": rows}, arrays


def _result_of(header: dict[str, Any], arrays: "Mapping[str, NDArray[Any]]") -> SQDResult:
    state = None
    if "amplitudes" in arrays:
        from qiskit_addon_sqd.fermion import SCIState

        strings = _strings(arrays["strings_a"]), _strings(arrays["strings_b"])
        state = SCIState(arrays["amplitudes"], *strings, norb=header["norb"], nelec=header["nelec"])
    iterations = []
    for row in header.pop("iterations"):
        number = row["number"]
        alpha, beta = (_strings(arrays[f"{number}.carryover.{place}"]) for place in (0, 1))
        given = {
            "energies": tuple(row["energies"]),
            "subspaces": tuple((a, b) for a, b in row["subspaces"]),
            "jobs": tuple(row["jobs"]),
            "occupancies": (arrays[f"{number}.occupancies.0"], arrays[f"{number}.occupancies.1"]),
            "carryover": (alpha, beta),
        }
        iterations.append(Iteration(**{**row, **given}))
    occupancies = arrays["alpha"], arrays["beta"]
    return SQDResult(**header, occupancies=occupancies, sci_state=state, iterations=tuple(iterations))


# ------------------------------------------------------------------------------------------------------------------ config


class SamplingConfig(dg.Config):
    """What the launchpad offers for the samples."""

    shots: int = Field(default=10_000, ge=1, description="How many bitstrings to draw.")
    seed: int = Field(default=24, ge=0, description="All randomness comes from it, that of the loop too.")


class SQDConfig(dg.Config):
    """What the launchpad offers for the loop."""

    samples_per_batch: int = Field(default=300, ge=1, description="Bitstrings in each subspace.")
    num_batches: int = Field(default=3, ge=1, description="Subspaces in each iteration: jobs that run side by side.")
    max_iterations: int = Field(
        default=10, ge=1, description="At most; a larger number later goes on from where it ended."
    )
    energy_tol: float = Field(default=1e-8, ge=0, description="Converged when the energy changes by less, in Hartree.")
    occupancies_tol: float = Field(default=1e-5, ge=0, description="… and no occupancy changes by more.")
    symmetrize_spin: bool = Field(default=False, description="The same strings for alpha and beta.")
    max_dim: int | None = Field(default=None, description="Most strings of each spin; null: no limit.")
    carryover_threshold: float = Field(
        default=1e-4, ge=0, description="Strings with larger coefficients stay for the next iteration."
    )
    initial_occupancies: str | None = Field(
        default="ccsd",
        description="Where recovery starts: ccsd, hf, or null for samples with the right electrons only.",
    )
    profile: str | None = Field(default=None, description="Another execution profile for the jobs of the solver.")
    overrides: ProfileOverrides = Field(
        default=ProfileOverrides(), description="Fields of the profile to replace, e.g. walltime."
    )
    reuse: str = Field(
        default="succeeded",
        description="succeeded: take what earlier runs with the same inputs have finished; never: start anew.",
    )


def _with_defaults(base: type[dg.Config], name: str, defaults: Mapping[str, Any]) -> Any:
    """The config class with other defaults: what the launchpad shows is what happens."""
    fields: dict[str, Any] = {}
    for key, value in defaults.items():
        if key not in base.model_fields:
            known = ", ".join(base.model_fields)
            raise ConfigurationError(f"build_sqd_assets has no option {key!r}; the loop's are {known}")
        info = copy(base.model_fields[key])
        info.default = value
        fields[key] = (info.annotation, info)
    return create_model(name, __base__=base, __doc__=base.__doc__, **fields)


# ------------------------------------------------------------------------------------------------------------------ assets


def build_sqd_assets(
    molecule: Molecule | Mapping[str, Molecule] | Callable[[str], Molecule],
    *,
    name: str = "sqd",
    source: Source | str | Mapping[str, Any] = "uniform",
    shots: int = 10_000,
    seed: int = 24,
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
    sampling_config = _with_defaults(SamplingConfig, f"SamplingConfig_{name}", {"shots": shots, "seed": seed})
    loop_config = _with_defaults(SQDConfig, f"SQDConfig_{name}", loop)
    hamiltonian_key, samples_key, result_key = (
        dg.AssetKey(f"{name}_{part}") for part in ("hamiltonian", "samples", "result")
    )

    def make_hamiltonian(context: dg.AssetExecutionContext) -> Any:
        """Integrals of the active space in one fixed set of orbitals, with Hartree-Fock and CCSD."""
        with _AsFailure():
            made = _kept_hamiltonian(_molecule_of(molecule, context), _state_folder(context, state_dir))
        return dg.MaterializeResult(value=made, metadata=_hamiltonian_metadata(made))

    def make_samples(context: dg.AssetExecutionContext, config: SamplingConfig, hamiltonian: Hamiltonian) -> Any:
        """Bitstrings of the active space, from random numbers, a simulated circuit, a file or a quantum computer."""

        asked = _described(source)
        text = json.dumps([asked, hamiltonian.fcidump, config.shots, config.seed], sort_keys=True)
        name = f"quantum-{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
        ticket = _state_folder(context, state_dir) / name

        def submitted(job_id: str) -> None:
            """Quantum time is paid once: a later attempt fetches this job."""
            _write(ticket, json.dumps({"job_id": job_id}).encode())
            context.log.info(f"the quantum computer has the circuits as job {job_id}")
            context.instance.add_run_tags(context.run.run_id, {f"{TAG_JOB_ID}.quantum": job_id})

        chosen: Any = source
        if asked["kind"] == "ibm" and ticket.exists():
            job_id = json.loads(ticket.read_text())["job_id"]
            context.log.info(f"an earlier attempt submitted job {job_id}: its samples are fetched")
            chosen = {**asked, "job_id": job_id}
        with _AsFailure(), hamiltonian.opened() as same:
            bits = sample_bitstrings(chosen, same, seed=config.seed, shots=config.shots, on_submit=submitted)
            integrals = same.integrals()
        ticket.unlink(missing_ok=True)
        made = Samples(bits, integrals.norb, integrals.nelec, config.seed, _described(source))
        return dg.MaterializeResult(value=made, metadata=_samples_metadata(made))

    def make_result(
        context: dg.AssetExecutionContext, config: SQDConfig, hamiltonian: Hamiltonian, samples: Samples
    ) -> dg.MaterializeResult[SQDResult]:
        """The lowest state that configuration recovery finds, its convergence, and what its jobs cost."""
        found = _loop(context, config, hamiltonian, samples, solver, state_dir)
        return dg.MaterializeResult(
            value=found,
            metadata=sqd_metadata(found, ccsd_energy=hamiltonian.ccsd_energy),
            check_results=_check_results(found, result_key),
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
        "check_specs": [
            dg.AssetCheckSpec(check, asset=result_key, description=said) for check, said in _CHECKS.items()
        ],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # io_manager_def
        hamiltonian: dg.AssetsDefinition = dg.asset(
            key=hamiltonian_key, kinds={"python", "pyscf"}, dagster_type=HamiltonianType, **common
        )(make_hamiltonian)
        samples: dg.AssetsDefinition = dg.asset(
            key=samples_key, kinds={"python", "qiskit"}, dagster_type=SamplesType, ins=of_hamiltonian, **common
        )(make_samples)
        result: dg.AssetsDefinition = dg.asset(key=result_key, dagster_type=SQDResultType, **of_result, **common)(
            make_result
        )

    made = [hamiltonian, samples, result]
    if isinstance(molecule, Mapping):
        made.append(_curve(dg.AssetKey(f"{name}_curve"), result_key, list(molecule), group_name, owners))
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
    _write(file, to_bytes(made))
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
    with _AsFailure():
        if config.reuse not in ("succeeded", "never"):
            raise ConfigurationError(f"reuse is {config.reuse!r}; it is 'succeeded' or 'never'")
        if config.initial_occupancies not in ("ccsd", "hf", None):
            raise ConfigurationError(f"initial_occupancies is {config.initial_occupancies!r}; it is ccsd, hf or null")
        folder = _state_folder(context, state_dir)
        # A run that is to start anew still resumes itself when it is retried.
        key = context.run.root_run_id or context.run.run_id if config.reuse == "never" else ""
        how: dict[str, Any] = {}
        if solver:
            given = {name: value for name, value in dict(config.overrides).items() if value is not None}
            how = {"profile": config.profile, "overrides": given, "reuse": "succeeded" if not key else "running"}
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
            samples.bitstrings,
            samples_per_batch=config.samples_per_batch,
            seed=samples.seed,
            num_batches=config.num_batches,
            sci_solver=getattr(context.resources, solver) if solver else None,
            max_iterations=config.max_iterations,
            energy_tol=config.energy_tol,
            occupancies_tol=config.occupancies_tol,
            symmetrize_spin=config.symmetrize_spin,
            max_dim=config.max_dim,
            initial_occupancies=start,
            carryover_threshold=config.carryover_threshold,
            state_dir=folder,
            key=key,
            callback=told,
            context=context if solver else None,
            **how,
        )


class _AsFailure:
    """An error of ours fails the step with its sentence; a wrong request is not worth a retry."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> Literal[False]:
        if isinstance(error, HPCError):
            raise dg.Failure(str(error), allow_retries=not isinstance(error, ConfigurationError)) from error
        return False


def _described(source: Source | str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(source, str):
        return {"kind": source}
    return dict(source) if isinstance(source, Mapping) else source.model_dump(mode="json")


# ---------------------------------------------------------------------------------------------------------------- metadata

_CHECKS = {
    "converged": "Energy and occupancies stayed within their tolerances from the last iteration but one to the last.",
    "electrons": "The occupancies sum to the numbers of alpha and beta electrons.",
    "below_reference": "The energy is not above that of the reference determinant.",
}


def _check_results(result: SQDResult, key: dg.AssetKey) -> list[dg.AssetCheckResult]:
    off = max(abs(float(np.sum(part)) - count) for part, count in zip(result.occupancies, result.nelec, strict=True))
    last = result.iterations[-2:]
    change = abs(last[-1].energy - last[0].energy) if len(last) == 2 else None
    warn, error = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
    made: list[tuple[str, bool, dg.AssetCheckSeverity, dict[str, Any]]] = [
        ("converged", result.converged, warn, {"iterations": len(result.iterations), "last_change": _number(change)}),
        ("electrons", off < 1e-4, error, {"off_by": off}),
        ("below_reference", result.correlation_energy < 1e-8, warn, {"correlation_energy": result.correlation_energy}),
    ]
    return [
        dg.AssetCheckResult(check_name=name, asset_key=key, passed=passed, severity=severity, metadata=metadata)
        for name, passed, severity, metadata in made
    ]


def sqd_metadata(result: SQDResult, *, ccsd_energy: float | None = None) -> dict[str, dg.MetadataValue]:
    """What was found, how the loop came there, and what its jobs cost."""
    best = result.best
    strings = max(best.subspaces, key=lambda one: one[0] * one[1])
    return {
        "energy": _number(result.total_energy),
        "energy_without_core": _number(result.energy),
        "core_energy": _number(result.core_energy),
        "hf_energy": _number(result.reference_energy),
        "correlation_energy": _number(result.correlation_energy),
        "ccsd_energy": _number(ccsd_energy),
        "norb": dg.MetadataValue.int(result.norb),
        "nelec": dg.MetadataValue.json(list(result.nelec)),
        "determinants": dg.MetadataValue.int(result.determinants),
        "alpha_strings": dg.MetadataValue.int(strings[0]),
        "beta_strings": dg.MetadataValue.int(strings[1]),
        "spin_square": _number(result.spin_square),
        "occupancies_alpha": dg.MetadataValue.json([round(float(value), 8) for value in result.occupancies[0]]),
        "occupancies_beta": dg.MetadataValue.json([round(float(value), 8) for value in result.occupancies[1]]),
        "leading_determinants": _leading(result),
        "converged": dg.MetadataValue.bool(result.converged),
        "iterations": dg.MetadataValue.int(len(result.iterations)),
        "iterations_resumed": dg.MetadataValue.int(result.resumed),
        "best_iteration": dg.MetadataValue.int(best.number),
        "seed": dg.MetadataValue.int(result.seed),
        "convergence": _convergence(result),
        "picture": _picture_of_convergence(result),
        "jobs": dg.MetadataValue.int(len(result.jobs)),
        "job_table": _job_table(result),
        **{f"all_jobs_{name}": _number(_over(result, name, sum)) for name in _SUMS},
        **{f"all_jobs_{name}": _number(_over(result, name, max)) for name in _MOST},
        "node_hours_per_millihartree": _number(result.node_hours_per_millihartree),
    }


def _hamiltonian_metadata(hamiltonian: Hamiltonian) -> dict[str, Any]:
    integrals = hamiltonian.integrals()
    molecule = hamiltonian.molecule
    return {
        "geometry": molecule.geometry or molecule.fcidump or "",
        "basis": molecule.basis or "",
        "norb": integrals.norb,
        "nelec": dg.MetadataValue.json(list(integrals.nelec)),
        "core_energy": integrals.core_energy,
        "hf_energy": hamiltonian.reference_energy,
        "ccsd_energy": _number(hamiltonian.ccsd_energy),
        "occupancies_alpha": dg.MetadataValue.json([round(float(one), 8) for one in hamiltonian.occupancies[0]]),
        "occupancies_beta": dg.MetadataValue.json([round(float(one), 8) for one in hamiltonian.occupancies[1]]),
        "sha256": hashlib.sha256(hamiltonian.fcidump.encode()).hexdigest(),
    }


def _samples_metadata(samples: Samples) -> dict[str, Any]:
    counts = counts_of(samples.bitstrings)
    rows = [dg.TableRecord({"bitstring": text, "shots": counts[text]}) for text in list(counts)[:_LEADING]]
    return {
        "source": dg.MetadataValue.json(dict(samples.source)),
        "shots": len(samples.bitstrings),
        "different": len(counts),
        "right_electrons": samples.right_electrons,
        "norb": samples.norb,
        "nelec": dg.MetadataValue.json(list(samples.nelec)),
        "seed": samples.seed,
        "most_frequent": dg.MetadataValue.table(rows),
    }


def _number(value: float | None) -> dg.MetadataValue:
    # Dagster stores NaN and infinity without complaint, and its UI then fails to read the event.
    if value is None or not isfinite(value):
        return dg.MetadataValue.null()
    return dg.MetadataValue.float(float(value))


def _over(result: SQDResult, name: str, how: Callable[[Iterable[float]], float]) -> float | None:
    """None as soon as one job does not know: a sum of some is no sum."""
    values = [job.get(name) for job in result.jobs]
    known = [float(value) for value in values if value is not None]
    return how(known) if known and len(known) == len(values) else None


def _table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> dg.MetadataValue:
    schema = dg.TableSchema(columns=[dg.TableColumn(name, kind) for name, kind in columns.items()])
    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows], schema)


def _convergence(result: SQDResult) -> dg.MetadataValue:
    rows: list[dict[str, Any]] = []
    before: Iteration | None = None
    for one in result.iterations:
        total = one.energy + result.core_energy
        hours = [job.get("node_hours") for job in one.jobs]
        known = [hour for hour in hours if hour is not None]
        moved: float | None = (
            None if before is None else float(np.max(np.abs(np.ravel(before.occupancies) - np.ravel(one.occupancies))))
        )
        rows.append(
            {
                "iteration": one.number,
                "energy": total,
                "change_mha": None if before is None else (one.energy - before.energy) * MILLI,
                "batches": json.dumps([round(energy + result.core_energy, 8) for energy in one.energies]),
                "occupancy_change": moved,
                "largest_subspace": one.largest_subspace,
                "carried_over": f"{len(one.carryover[0])} + {len(one.carryover[1])}",
                "spin_square": one.spin_square,
                "jobs": len(one.jobs),
                "node_hours": sum(known) if known and len(known) == len(hours) else None,
                "seconds": round(one.seconds, 2),
            }
        )
        before = one
    kinds = {
        "iteration": "int", "energy": "float", "change_mha": "float", "batches": "string", "occupancy_change": "float",
        "largest_subspace": "int", "carried_over": "string", "spin_square": "float", "jobs": "int",
        "node_hours": "float", "seconds": "float",
    }  # fmt: skip
    return _table(rows, kinds)


def _job_table(result: SQDResult) -> dg.MetadataValue:
    kinds = {
        "iteration": "int", "job_id": "string", "state": "string", "queue_wait_s": "float", "elapsed_s": "float",
        "cpu_time_s": "float", "cpu_efficiency": "float", "max_rss_mib": "float", "nodes": "int", "cores": "int",
        "node_hours": "float", "energy_j": "float",
    }  # fmt: skip
    rows = [
        {name: ({"iteration": one.number} | dict(job)).get(name) for name in kinds}
        for one in result.iterations
        for job in one.jobs
    ]
    return _table(rows, kinds)


def _leading(result: SQDResult) -> dg.MetadataValue:
    kinds = {"orbitals": "string", "coefficient": "float", "weight": "float"}
    state = result.sci_state
    if state is None:
        return _table([], kinds)
    flat = np.abs(state.amplitudes).ravel()
    count = min(_LEADING, flat.size)
    first = np.argpartition(-flat, count - 1)[:count]
    rows = []
    for place in first[np.argsort(-flat[first], kind="stable")].tolist():
        row, column = divmod(place, state.amplitudes.shape[1])
        alpha, beta = int(state.ci_strs_a[row]), int(state.ci_strs_b[column])
        value = float(state.amplitudes[row, column])
        text = "".join("0ab2"[(alpha >> p & 1) + 2 * (beta >> p & 1)] for p in range(result.norb))
        rows.append({"orbitals": text, "coefficient": value, "weight": value * value})
    return _table(rows, kinds)


def _picture_of_convergence(result: SQDResult) -> dg.MetadataValue:
    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        numbers = [one.number for one in result.iterations]
        for one in result.iterations:
            left.plot(
                [one.number] * len(one.energies), np.array(one.energies) + result.core_energy, ".", color="#9db2e0"
            )
        left.plot(numbers, [one.energy + result.core_energy for one in result.iterations], "o-", color="#3b5fc0")
        left.set_xlabel("iteration")
        left.set_ylabel("energy in Hartree")
        left.ticklabel_format(useOffset=False)
        left.xaxis.get_major_locator().set_params(integer=True)
        right.bar(np.arange(result.norb), result.occupancies[0] + result.occupancies[1], color="#3b5fc0")
        right.set_xlabel("orbital")
        right.set_ylabel("electrons")

    return _picture(draw, "Energy in each iteration, and the occupancies at the end")


def _picture(draw: Callable[[Any], None], title: str) -> dg.MetadataValue:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return dg.MetadataValue.text("matplotlib is not installed, so there is no picture")
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    draw(figure)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png.getvalue()).decode()})")


# ------------------------------------------------------------------------------------------------------- dissociation curve


def _curve(
    key: dg.AssetKey, result_key: dg.AssetKey, order: list[str], group_name: str, owners: Sequence[str] | None
) -> dg.AssetsDefinition:
    upstream = dg.AssetIn(
        result_key, partition_mapping=dg.AllPartitionMapping(), metadata={"allow_missing_partitions": True},
        dagster_type=dg.Any,
    )  # fmt: skip

    @dg.asset(key=key, ins={"results": upstream}, group_name=group_name, owners=owners, kinds={"python", "matplotlib"})
    def curve(results: Any) -> dg.MaterializeResult[None]:
        """The energies of all geometries that are materialized, beside Hartree-Fock."""
        found: Mapping[str, SQDResult] = results if isinstance(results, Mapping) else {order[0]: results}
        known = [(place, found[place]) for place in order if place in found]
        if not known:
            raise dg.Failure(f"no partition of {result_key.to_user_string()} is materialized", allow_retries=False)
        return dg.MaterializeResult(metadata=_curve_metadata(known))

    return curve


def _curve_metadata(known: Sequence[tuple[str, SQDResult]]) -> dict[str, Any]:
    rows = [
        {
            "geometry": place,
            "energy": one.total_energy,
            "hf_energy": one.reference_energy,
            "correlation_energy": one.correlation_energy,
            "spin_square": one.spin_square,
            "determinants": one.determinants,
            "converged": one.converged,
            "node_hours": one.node_hours,
        }
        for place, one in known
    ]
    kinds = {
        "geometry": "string", "energy": "float", "hf_energy": "float", "correlation_energy": "float",
        "spin_square": "float", "determinants": "int", "converged": "bool", "node_hours": "float",
    }  # fmt: skip

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        names = [place for place, _ in known]
        try:
            where: list[Any] = [float(name) for name in names]
        except ValueError:
            where = names
        axes.plot(where, [one.reference_energy for _, one in known], "o--", color="#999999", label="Hartree-Fock")
        axes.plot(where, [one.total_energy for _, one in known], "o-", color="#3b5fc0", label="SQD")
        axes.set_xlabel("geometry")
        axes.set_ylabel("energy in Hartree")
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.legend(frameon=False)

    lowest = min(known, key=lambda pair: pair[1].total_energy)
    return {
        "geometries": len(known),
        "lowest_energy": lowest[1].total_energy,
        "lowest_geometry": lowest[0],
        "energies": _table(rows, kinds),
        "picture": _picture(draw, "The energy of each geometry"),
    }
