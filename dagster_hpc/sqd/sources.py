"""What bitstrings can be asked of: random bits, a file of counts, a circuit, a circuit on IBM Quantum. Values, no code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dagster_hpc.engine.errors import ConfigurationError


class _Source(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UniformSource(_Source):
    """Random bits: what SQD makes of no information at all.

    Example:
        bits = sample_bitstrings(UniformSource(right_particle_number=True), molecule, shots=300, seed=24)
        assert (bits.sum(axis=1) == 2).all()
    """

    kind: Literal["uniform"] = "uniform"
    right_particle_number: bool = Field(
        default=False, description="Only strings with the molecule's numbers of alpha and beta electrons."
    )


class CountsSource(_Source):
    """A JSON file {bitstring: count}, as Qiskit's get_counts gives it: alpha on the right, qubit 0 last.

    Example:
        Path("counts.json").write_text('{"00000000010000000001": 900, "00000000100000000010": 100}')
        bits = sample_bitstrings(CountsSource(path="counts.json"), molecule, seed=24)
        assert bits.shape == (1000, 20)
    """

    kind: Literal["counts"] = "counts"
    path: str = Field(description="The file.")


class _Circuit(_Source):
    """What all circuits that are simulated here have in common: errors, put on the outcome and not on the gates."""

    depolarizing: float = Field(
        default=0.0, ge=0, le=1,
        description="A depolarising channel on all qubits together: with this probability a shot is uniform noise.",
    )  # fmt: skip
    bit_flip: float = Field(
        default=0.0, ge=0, le=1,
        description="Classical: each bit read is flipped with this probability (the same as a depolarising channel of twice "
        "the strength on each qubit just before it is measured).",
    )  # fmt: skip


class LUCJSource(_Circuit):
    """A local unitary cluster Jastrow circuit with the parameters of CCSD.

    Example:
        bits = sample_bitstrings(LUCJSource(layers=2, depolarizing=0.1), molecule, shots=300, seed=24)
    """

    kind: Literal["lucj"] = "lucj"
    layers: int = Field(default=1, ge=1, description="Repetitions of the ansatz.")
    connectivity: Literal["heavy-hex", "square", "all-to-all"] = Field(
        default="heavy-hex", description="Which orbitals interact: those that are neighbours on such a device."
    )


class KrylovSource(_Circuit):
    """SKQD: the reference determinant evolved for 0, 1, 2 … time steps; the shots are shared out evenly.

    Example:
        bits = sample_bitstrings(KrylovSource(dimension=3, time_step=0.2), molecule, shots=300, seed=24)
    """

    kind: Literal["krylov"] = "krylov"
    dimension: int = Field(default=5, ge=1, description="Krylov vectors, the reference determinant being the first.")
    time_step: float = Field(
        default=0.15, gt=0, description="Evolution time from one vector to the next, in 1/Hartree."
    )
    trotter_steps: int = Field(default=2, ge=1, description="Trotter steps for each time step.")
    order: int = Field(
        default=1, ge=0, description="Of the Trotter formula: 0 asymmetric, 1 symmetric, 2 Suzuki's fourth."
    )


class IBMSource(_Source):
    """A circuit run on IBM Quantum. The account is the one saved by qiskit-ibm-runtime, or in its environment variables.

    Example:
        source = IBMSource(circuit=LUCJSource(layers=2), backend="ibm_kawasaki", optimization_level=2)
        assets = build_sqd_assets(molecule, name="h2", source=source)
    """

    kind: Literal["ibm"] = "ibm"
    circuit: Annotated[LUCJSource | KrylovSource, Field(discriminator="kind")] = LUCJSource()
    backend: str | None = Field(default=None, description="Name of the device; default: the least busy one.")
    account: str | None = Field(default=None, description="Name of the saved account; default: the default account.")
    instance: str | None = Field(default=None, description="Service instance (CRN or name).")
    optimization_level: int = Field(default=3, ge=0, le=3, description="Of the transpiler.")
    options: dict[str, Any] = Field(
        default={}, description="Sampler options, as in {'dynamical_decoupling': {'enable': True}}."
    )
    job_id: str | None = Field(default=None, description="Fetch the samples of this job instead of submitting one.")


Circuit: TypeAlias = LUCJSource | KrylovSource
Source: TypeAlias = UniformSource | CountsSource | LUCJSource | KrylovSource | IBMSource
_READER: TypeAdapter[Source] = TypeAdapter(Annotated[Source, Field(discriminator="kind")])


def source_of(asked: Source | str | Mapping[str, Any]) -> Source:
    """The source that is meant: one of the values above, its fields with `kind`, or a kind alone, as in "uniform"."""
    if isinstance(asked, _Source):
        return asked
    given = {"kind": asked} if isinstance(asked, str) else dict(asked)
    try:
        return _READER.validate_python(given)
    except ValidationError as error:
        faults = [f"source {'.'.join(map(str, fault['loc'])) or given}: {fault['msg']}" for fault in error.errors()]
        raise ConfigurationError(faults) from None
