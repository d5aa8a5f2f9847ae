"""Where bitstrings come from: drawn at random, read from a file, a circuit simulated here, or a quantum computer.

Every source gives the same thing, a matrix of booleans with one row per shot and the columns

    b[N-1] … b[0] a[N-1] … a[0]

so that alpha is the right half and the last column is orbital 0. That is how qiskit-addon-sqd reads its matrices, and how
Qiskit writes a bitstring (qubit 0 last; qubits 0 to N-1 are alpha, N to 2N-1 are beta). Each half, read as a binary number,
is the integer of Dice's string files: bit p is orbital p.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.molecule import MolecularIntegrals, Molecule

    Bitstrings: TypeAlias = NDArray[np.bool_]

MOST_AMPLITUDES = 2**27  # of a simulated state: 2 GiB, and as much again while a gate is applied
_SAMPLING, _NOISE, _TRANSPILER, _SIMULATOR = range(4)  # streams of random numbers, each its own


class _Source(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UniformSource(_Source):
    """Random bits: what SQD makes of no information at all."""

    kind: Literal["uniform"] = "uniform"
    right_particle_number: bool = Field(
        default=False, description="Only strings with the molecule's numbers of alpha and beta electrons."
    )


class CountsSource(_Source):
    """A JSON file {bitstring: count}, as Qiskit's get_counts gives it: alpha on the right, qubit 0 last."""

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
    """A local unitary cluster Jastrow circuit with the parameters of CCSD."""

    kind: Literal["lucj"] = "lucj"
    layers: int = Field(default=1, ge=1, description="Repetitions of the ansatz.")
    connectivity: Literal["heavy-hex", "square", "all-to-all"] = Field(
        default="heavy-hex", description="Which orbitals interact: those that are neighbours on such a device."
    )


class KrylovSource(_Circuit):
    """SKQD: the reference determinant evolved for 0, 1, 2 … time steps; the shots are shared out evenly."""

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
    """A circuit run on IBM Quantum. The account is the one saved by qiskit-ibm-runtime, or in its environment variables."""

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


Source: TypeAlias = UniformSource | CountsSource | LUCJSource | KrylovSource | IBMSource
_READER: TypeAdapter[Source] = TypeAdapter(Annotated[Source, Field(discriminator="kind")])


def sample_bitstrings(
    source: Source | str | Mapping[str, Any],
    molecule: Molecule | None = None,
    *,
    seed: int | np.random.SeedSequence,
    shots: int | None = None,
    norb: int | None = None,
    nelec: tuple[int, int] | None = None,
    backend: Any = None,
    on_submit: Callable[[str], None] | None = None,
) -> Bitstrings:
    """Bitstrings of the active space, (shots, 2·norb), alpha in the right half.

    Args:
        source: One of the sources above, its fields with `kind`, or a kind alone, as in "uniform".
        molecule: Gives norb, nelec and, to circuits, integrals and amplitudes. Without it name `norb` and `nelec`.
        seed: All randomness comes from it. The same seed, source and molecule give the same bitstrings.
        shots: How many. A file of counts is taken as it is, unless this asks for a random part of it.
        backend: For IBM: a Qiskit backend in place of the one named by the source, such as a local fake one.
        on_submit: For IBM: called with the id of a job as soon as it has one; `job_id` finds it again after a crash.

    Example:
        sample_bitstrings("uniform", Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g"), shots=10_000, seed=24)
    """
    chosen = _source(source)
    if isinstance(shots, bool) or (shots is not None and shots < 1):
        raise ConfigurationError(f"shots is {shots}: at least one is needed")
    norb, nelec = _size(molecule, norb, nelec)
    if isinstance(chosen, CountsSource):
        return _from_file(chosen, norb, shots, seed)
    if shots is None and not (isinstance(chosen, IBMSource) and chosen.job_id):
        raise ConfigurationError(f"the source {chosen.kind} needs a number of shots")
    if isinstance(chosen, UniformSource):
        return _uniform(chosen, norb, nelec, _given(shots), _stream(seed, _SAMPLING))
    if molecule is None:
        raise ConfigurationError(f"the source {chosen.kind} needs a molecule, not its size only")
    if isinstance(chosen, IBMSource):
        return _from_ibm(chosen, molecule, shots, seed, backend, on_submit)
    return _simulated(chosen, molecule, _given(shots), seed)


def counts_of(bitstrings: Bitstrings) -> dict[str, int]:
    """{bitstring: count}, as Qiskit writes it and CountsSource reads it; most frequent first."""
    rows, counts = np.unique(bitstrings, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {"".join("01"[bit] for bit in rows[k].astype(int)): int(counts[k]) for k in order}


def _source(source: Source | str | Mapping[str, Any]) -> Source:
    if isinstance(source, _Source):
        return source
    given = {"kind": source} if isinstance(source, str) else dict(source)
    try:
        return _READER.validate_python(given)
    except ValidationError as error:
        faults = [f"source {'.'.join(map(str, fault['loc'])) or given}: {fault['msg']}" for fault in error.errors()]
        raise ConfigurationError(faults) from None


def _given(shots: int | None) -> int:
    assert shots is not None  # checked by the caller
    return shots


def _size(molecule: Molecule | None, norb: int | None, nelec: tuple[int, int] | None) -> tuple[int, tuple[int, int]]:
    if molecule is not None:
        integrals = molecule.integrals()
        if (norb, nelec) not in ((None, None), (integrals.norb, integrals.nelec)):
            raise ConfigurationError(
                f"norb {norb} and nelec {nelec} are not those of the molecule, {integrals.norb} and {integrals.nelec}: "
                "leave them out"
            )
        return integrals.norb, integrals.nelec
    if norb is None or nelec is None:
        raise ConfigurationError("give a molecule, or norb and nelec")
    if norb < 1 or not all(0 <= count <= norb for count in nelec):
        raise ConfigurationError(f"{nelec[0]} alpha and {nelec[1]} beta electrons do not fit into {norb} orbitals")
    return norb, (int(nelec[0]), int(nelec[1]))


def _seeds(seed: int | np.random.SeedSequence, stream: int) -> np.random.SeedSequence:
    """The seed of one use of randomness. Unlike spawning, asking twice gives the same."""
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, stream))


def _stream(seed: int | np.random.SeedSequence, stream: int) -> np.random.Generator:
    return np.random.default_rng(_seeds(seed, stream))


def _uniform(
    source: UniformSource, norb: int, nelec: tuple[int, int], shots: int, rng: np.random.Generator
) -> Bitstrings:
    if not source.right_particle_number:
        return rng.integers(2, size=(shots, 2 * norb), dtype=bool)
    halves = []
    for electrons in (nelec[1], nelec[0]):  # beta is the left half
        half = np.zeros((shots, norb), dtype=bool)
        np.put_along_axis(half, rng.random((shots, norb)).argsort(axis=1)[:, :electrons], True, axis=1)
        halves.append(half)
    return np.hstack(halves)


def _from_file(source: CountsSource, norb: int, shots: int | None, seed: int | np.random.SeedSequence) -> Bitstrings:
    path = Path(source.path)
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"cannot read the counts in {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from None
    if not isinstance(data, dict) or not data:
        raise ConfigurationError(f"{path} must hold one object {{bitstring: count}} with at least one entry")
    faults: list[str] = []
    rows, counts = [], []
    for text, count in data.items():
        row = text.replace(" ", "")
        if len(row) != 2 * norb or set(row) - {"0", "1"}:
            faults.append(f"{text!r} is not a string of {2 * norb} bits (beta, then alpha, of {norb} orbitals each)")
        elif not isinstance(count, int) or isinstance(count, bool) or count < 0:
            faults.append(f"{text!r} has the count {count!r}, which is no whole number")
        else:
            rows.append(np.frombuffer(row.encode(), dtype=np.uint8) == ord("1"))
            counts.append(count)
    if faults:
        more = [f"and {len(faults) - 5} more"] if len(faults) > 5 else []
        raise ConfigurationError([f"{path}: {fault}" for fault in faults[:5]] + more)
    total = sum(counts)
    if total == 0 or (shots or 0) > total:
        raise ConfigurationError(f"{path} holds {total} shots, {shots or 'at least 1'} are asked for")
    if shots is not None:
        rng = _stream(seed, _SAMPLING)
        counts = rng.multivariate_hypergeometric(counts, shots, method="marginals").tolist()
    return np.repeat(np.array(rows), counts, axis=0)


# ------------------------------------------------------------------------------------------------- circuits simulated here


def _simulated(
    source: LUCJSource | KrylovSource, molecule: Molecule, shots: int, seed: int | np.random.SeedSequence
) -> Bitstrings:
    ffsim = _ffsim(source.kind)
    integrals = molecule.integrals()
    norb, nelec = integrals.norb, integrals.nelec
    dimension = comb(norb, nelec[0]) * comb(norb, nelec[1])
    if dimension > MOST_AMPLITUDES:
        raise ConfigurationError(
            f"{norb} orbitals with {nelec[0]} + {nelec[1]} electrons are {dimension:.1e} amplitudes, "
            f"too many to simulate here ({MOST_AMPLITUDES:.1e} at most)",
            advice="choose a smaller active space, or run the circuit on a quantum computer.",
        )
    reference = ffsim.hartree_fock_state(norb, nelec)
    rng = _stream(seed, _SAMPLING)
    if isinstance(source, LUCJSource):
        state = ffsim.apply_unitary(reference, lucj_operator(source, molecule), norb=norb, nelec=nelec)
        exact = measured(ffsim, state, norb, nelec, shots, rng)
    else:
        hamiltonian = _factorized(ffsim, integrals)
        parts, state = [], reference
        for step, share in enumerate(_shares(shots, source.dimension)):
            if step:
                state = ffsim.simulate_trotter_double_factorized(
                    state, hamiltonian, source.time_step,
                    norb=norb, nelec=nelec, n_steps=source.trotter_steps, order=source.order,
                )  # fmt: skip
            parts.append(measured(ffsim, state, norb, nelec, share, rng))
        exact = np.vstack(parts)
    return noisy(exact, source, _stream(seed, _NOISE))


def _ffsim(kind: str) -> Any:
    try:
        import ffsim
    except ImportError:
        raise ConfigurationError(
            f"the source {kind} needs ffsim, which is not installed", advice='pip install "dagster-hpc[sqd]"'
        ) from None
    return ffsim


def lucj_operator(source: LUCJSource, molecule: Molecule) -> Any:
    """The circuit as ffsim's operator, with as many repetitions as asked for and CCSD's amplitudes in them."""
    ffsim = _ffsim(source.kind)
    norb, amplitudes = molecule.integrals().norb, molecule.amplitudes()
    if not all(np.all(np.isfinite(array)) for array in (*_arrays(amplitudes.t1), *_arrays(amplitudes.t2))):
        raise ConfigurationError("CCSD diverges for this molecule, so that there are no parameters for an LUCJ circuit")
    chain, rungs = interaction_pairs(source.connectivity, norb)
    if isinstance(amplitudes.t1, tuple):
        return ffsim.UCJOpSpinUnbalanced.from_t_amplitudes(
            amplitudes.t2, t1=amplitudes.t1, n_reps=source.layers, interaction_pairs=(chain, rungs, chain)
        )
    return ffsim.UCJOpSpinBalanced.from_t_amplitudes(
        amplitudes.t2, t1=amplitudes.t1, n_reps=source.layers, interaction_pairs=(chain, rungs)
    )


def _arrays(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def interaction_pairs(
    connectivity: str, norb: int
) -> tuple[list[tuple[int, int]] | None, list[tuple[int, int]] | None]:
    """Orbitals that interact within a spin, and across spins."""
    if connectivity == "all-to-all":
        return None, None
    step = 4 if connectivity == "heavy-hex" else 1
    return [(p, p + 1) for p in range(norb - 1)], [(p, p) for p in range(0, norb, step)]


def _factorized(ffsim: Any, integrals: MolecularIntegrals) -> Any:
    hamiltonian = ffsim.MolecularHamiltonian(integrals.one_body, integrals.two_body, integrals.core_energy)
    return ffsim.DoubleFactorizedHamiltonian.from_molecular_hamiltonian(hamiltonian)


def _shares(shots: int, parts: int) -> list[int]:
    return [shots // parts + (part < shots % parts) for part in range(parts)]


def measured(
    ffsim: Any, state: Any, norb: int, nelec: tuple[int, int], shots: int, rng: np.random.Generator
) -> Bitstrings:
    """Shots of a state of given electrons, drawn from its probabilities."""
    if not shots:
        return np.empty((0, 2 * norb), dtype=bool)
    probabilities = np.abs(np.asarray(state)) ** 2
    cumulated = np.cumsum(probabilities)
    addresses = np.searchsorted(cumulated, rng.random(shots) * cumulated[-1], side="right")
    alpha, beta = ffsim.addresses_to_strings(
        addresses.tolist(), norb, nelec, concatenate=False, bitstring_type=ffsim.BitstringType.BIT_ARRAY
    )
    return np.hstack([np.asarray(beta, dtype=bool), np.asarray(alpha, dtype=bool)])


def noisy(exact: Bitstrings, source: LUCJSource | KrylovSource, rng: np.random.Generator) -> Bitstrings:
    lost = rng.random(len(exact)) < source.depolarizing
    noise = rng.integers(2, size=exact.shape, dtype=bool)
    flipped = rng.random(exact.shape) < source.bit_flip
    return np.asarray(np.where(lost[:, None], noise, exact) ^ flipped)


# ------------------------------------------------------------------------------------------------------------ IBM Quantum


def _from_ibm(
    source: IBMSource,
    molecule: Molecule,
    shots: int | None,
    seed: int | np.random.SeedSequence,
    backend: Any,
    on_submit: Callable[[str], None] | None,
) -> Bitstrings:
    try:
        from qiskit_ibm_runtime import QiskitRuntimeService, Sampler
    except ImportError:
        raise ConfigurationError(
            "the source ibm needs qiskit-ibm-runtime, which is not installed", advice='pip install "dagster-hpc[ibm]"'
        ) from None
    if source.circuit.depolarizing or source.circuit.bit_flip:
        raise ConfigurationError("a quantum computer has noise of its own: leave out depolarizing and bit_flip")
    if source.job_id or backend is None:
        service = QiskitRuntimeService(name=source.account, instance=source.instance)
        if source.job_id:
            return _outcomes(service.job(source.job_id).result(), molecule.integrals().norb, shots)
        backend = (
            service.backend(source.backend) if source.backend else service.least_busy(operational=True, simulator=False)
        )
    circuits = circuits_of(source.circuit, molecule)
    most = getattr(backend, "num_qubits", None)
    if most is not None and circuits[0].num_qubits > most:
        raise ConfigurationError(f"{circuits[0].num_qubits} qubits are needed, {backend.name} has {most}")
    prepared = _transpiled(
        circuits, backend, source.optimization_level, int(_seeds(seed, _TRANSPILER).generate_state(1)[0])
    )
    options = dict(source.options)
    if _is_local(backend):
        options.setdefault("simulator", {"seed_simulator": int(_seeds(seed, _SIMULATOR).generate_state(1)[0] >> 1)})
    # The service wants as many shots of each circuit: the few too many are left out again.
    job = Sampler(mode=backend, options=options).run(prepared, shots=-(-_given(shots) // len(circuits)))
    if on_submit is not None:
        on_submit(job.job_id())
    return _outcomes(job.result(), molecule.integrals().norb, shots)


def circuits_of(source: LUCJSource | KrylovSource, molecule: Molecule) -> list[Any]:
    """The Qiskit circuits, measured into a register `meas`: qubit p is alpha orbital p, qubit norb + p is beta orbital p."""
    from qiskit import QuantumCircuit

    ffsim = _ffsim(source.kind)
    integrals = molecule.integrals()
    norb, nelec = integrals.norb, integrals.nelec
    reference = ffsim.qiskit.PrepareHartreeFockJW(norb, nelec)
    qubits = range(2 * norb)
    gates: list[Any] = []
    if isinstance(source, LUCJSource):
        operator = lucj_operator(source, molecule)
        balanced = isinstance(operator, ffsim.UCJOpSpinBalanced)
        gates = [(ffsim.qiskit.UCJOpSpinBalancedJW if balanced else ffsim.qiskit.UCJOpSpinUnbalancedJW)(operator)]
    else:
        hamiltonian = _factorized(ffsim, integrals)
        gates = [None] + [
            ffsim.qiskit.SimulateTrotterDoubleFactorizedJW(
                hamiltonian, step * source.time_step, n_steps=step * source.trotter_steps, order=source.order
            )
            for step in range(1, source.dimension)
        ]
    circuits = []
    for gate in gates:
        circuit = QuantumCircuit(2 * norb)
        circuit.append(reference, qubits)
        if gate is not None:
            circuit.append(gate, qubits)
        circuit.measure_all()
        circuits.append(circuit)
    return circuits


def _transpiled(circuits: list[Any], backend: Any, level: int, seed: int) -> list[Any]:
    from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager

    manager = generate_preset_pass_manager(optimization_level=level, backend=backend, seed_transpiler=seed % 2**31)
    manager.pre_init = _ffsim("ibm").qiskit.PRE_INIT  # merges orbital rotations before they become gates
    return [manager.run(circuit) for circuit in circuits]


def _is_local(backend: Any) -> bool:
    """A backend that simulates here, which alone has a seed to set."""
    from qiskit_ibm_runtime import IBMBackend

    return not isinstance(backend, IBMBackend)


def _outcomes(result: Any, norb: int, shots: int | None) -> Bitstrings:
    """The shots of all circuits of a job, or so many of them, shared out evenly."""
    parts = []
    for publication in result:
        bits = publication.data.meas
        if bits.num_bits != 2 * norb:
            raise ConfigurationError(f"the job measured {bits.num_bits} qubits, {norb} orbitals have {2 * norb}")
        rows = np.unpackbits(bits.array.reshape(-1, bits.array.shape[-1]), axis=-1)[:, -bits.num_bits :]
        parts.append(rows.astype(bool))
    if shots is not None:
        parts = [part[:share] for part, share in zip(parts, _shares(shots, len(parts)), strict=True)]
    return np.vstack(parts)
