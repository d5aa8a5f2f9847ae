"""Bitstrings from every source, in the order that qiskit-addon-sqd reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd import counts
from dagster_hpc.sqd.circuits import circuits_of, lucj_operator
from dagster_hpc.sqd.counts import counts_of
from dagster_hpc.sqd.samples import sample_bitstrings
from dagster_hpc.sqd.sources import CountsSource, IBMSource, KrylovSource, LUCJSource, UniformSource


def molecule(name: str) -> Any:
    pytest.importorskip("pyscf")
    from dagster_hpc.sqd.molecule import Molecule

    return {
        "h2": Molecule(geometry="H 0 0 0; H 0 0 0.74", basis="sto-3g"),
        "h": Molecule(geometry="H 0 0 0", basis="6-31g", spin=1),
        "lih": Molecule(geometry="Li 0 0 0; H 0 0 1.6", basis="sto-3g"),
        "oh": Molecule(geometry="O 0 0 0; H 0 0 0.97", basis="sto-3g", spin=1),
    }[name]


def write_counts(path: Path, counts: Any) -> CountsSource:
    path.write_text(json.dumps(counts))
    return CountsSource(path=str(path))


# ------------------------------------------------------------------------------------------------------------ conventions


def test_the_halves_are_the_ci_strings_of_qiskit_addon_sqd(tmp_path: Path) -> None:
    fermion = pytest.importorskip("qiskit_addon_sqd.fermion")
    source = write_counts(tmp_path / "counts.json", {"001" + "110": 1})

    row = sample_bitstrings(source, norb=3, nelec=(2, 1), seed=0)

    alpha, beta = fermion.bitstring_matrix_to_ci_strs(row, open_shell=True)
    assert alpha.tolist() == [0b110]  # orbitals 1 and 2
    assert beta.tolist() == [0b001]  # orbital 0


def test_a_file_of_counts_becomes_qiskit_addon_sqds_matrix(tmp_path: Path) -> None:
    addon = pytest.importorskip("qiskit_addon_sqd.counts")
    counts = {"0101": 3, "1010": 1, "0110": 2}

    rows = sample_bitstrings(write_counts(tmp_path / "counts.json", counts), norb=2, nelec=(1, 1), seed=0)

    matrix, probabilities = addon.counts_to_arrays(counts)
    distinct, numbers = np.unique(rows, axis=0, return_counts=True)
    ours = dict(zip(map(bytes, distinct), numbers / numbers.sum(), strict=True))
    assert ours == pytest.approx(dict(zip(map(bytes, matrix), probabilities, strict=True)))
    assert counts_of(rows) == counts


def test_a_matrix_is_what_qiskits_bit_array_says() -> None:
    primitives = pytest.importorskip("qiskit.primitives")
    rows = sample_bitstrings("uniform", norb=5, nelec=(2, 2), shots=200, seed=4)

    assert primitives.BitArray.from_bool_array(rows, order="big").get_counts() == counts_of(rows)


# ---------------------------------------------------------------------------------------------------------------- uniform


def test_uniform_bits_are_fair_and_of_any_particle_number() -> None:
    rows = sample_bitstrings("uniform", norb=8, nelec=(4, 4), shots=20_000, seed=1)

    assert rows.shape == (20_000, 16)
    assert rows.dtype == bool
    assert np.abs(rows.mean(axis=0) - 0.5).max() < 0.02
    assert len(np.unique(rows.sum(axis=1))) > 10


def test_uniform_strings_of_the_right_particle_number() -> None:
    source = UniformSource(right_particle_number=True)

    rows = sample_bitstrings(source, norb=6, nelec=(4, 1), shots=30_000, seed=1)

    assert set(rows[:, 6:].sum(axis=1)) == {4}  # alpha is the right half
    assert set(rows[:, :6].sum(axis=1)) == {1}
    frequencies = np.unique(rows, axis=0, return_counts=True)[1]
    assert len(frequencies) == 15 * 6
    assert frequencies.min() > 0.7 * 30_000 / 90


@pytest.mark.parametrize("source", ["uniform", {"kind": "uniform", "right_particle_number": True}])
def test_the_seed_decides_everything(source: Any) -> None:
    first, again, other = (
        sample_bitstrings(source, norb=6, nelec=(3, 3), shots=50, seed=seed)
        for seed in (5, 5, np.random.SeedSequence(6))
    )

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_seed_sequence_is_not_used_up() -> None:
    seed = np.random.SeedSequence(5)

    first, again = (sample_bitstrings("uniform", norb=6, nelec=(3, 3), shots=50, seed=seed) for _ in range(2))

    assert np.array_equal(first, again)
    assert np.array_equal(first, sample_bitstrings("uniform", norb=6, nelec=(3, 3), shots=50, seed=5))


# ----------------------------------------------------------------------------------------------------------------- counts


def test_a_part_of_the_counts_is_drawn_without_putting_back(tmp_path: Path) -> None:
    source = write_counts(tmp_path / "counts.json", {"01 01": 30, "1010": 10})

    whole = counts_of(sample_bitstrings(source, norb=2, nelec=(1, 1), shots=40, seed=3))
    part = counts_of(sample_bitstrings(source, norb=2, nelec=(1, 1), shots=20, seed=3))

    assert whole == {"0101": 30, "1010": 10}
    assert sum(part.values()) == 20
    assert part["1010"] <= 10


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"010": 1}, "not a string of 4 bits"),
        ({"0201": 1}, "not a string of 4 bits"),
        ({"0x05": 1}, "not a string of 4 bits"),
        ({"0101": -1}, "no whole number"),
        ({"0101": 0.5}, "no whole number"),
        ({"0101": True}, "no whole number"),
        ({"0101": 0}, "holds 0 shots"),
        ({}, "at least one entry"),
        ({"hamiltonian": "", "counts": {}}, "at least one entry"),
        ({"hamiltonian": 7, "counts": {"0101": 1}}, "signature"),
        ({"hamiltonian": "", "counts": {"01": 1}}, "not a string of 4 bits"),
        ([1], "one object"),
    ],
)
def test_faulty_counts_are_refused(counts: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=words):
        sample_bitstrings(write_counts(tmp_path / "counts.json", counts), norb=2, nelec=(1, 1), seed=0)


def test_unreadable_counts(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("0101")

    with pytest.raises(ConfigurationError, match="cannot read"):
        sample_bitstrings(CountsSource(path=str(tmp_path / "none")), norb=2, nelec=(1, 1), seed=0)
    with pytest.raises(ConfigurationError, match="is not JSON"):
        sample_bitstrings(CountsSource(path=str(tmp_path / "text")), norb=2, nelec=(1, 1), seed=0)


def test_counts_say_which_hamiltonian_they_belong_to(tmp_path: Path) -> None:
    from dagster_hpc.sqd.molecule import Molecule, signature_of
    from dagster_hpc.sqd.values import Samples

    chosen = molecule("h2")
    other = Molecule(geometry="H 0 0 0; H 0 0 0.9", basis="sto-3g")
    rows = sample_bitstrings("uniform", chosen, shots=50, seed=1)
    path = tmp_path / "counts.json"
    counts.write_counts(path, Samples(rows, 2, (1, 1), 1, {}, signature_of(chosen.integrals())))
    source = CountsSource(path=str(path))

    assert counts_of(sample_bitstrings(source, chosen, seed=0)) == counts_of(rows)
    assert len(sample_bitstrings(source, norb=2, nelec=(1, 1), seed=0)) == 50  # who names a size only asks no more
    with pytest.raises(ConfigurationError, match=r"the counts in .* belong to another Hamiltonian"):
        sample_bitstrings(source, other, seed=0)


# --------------------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("source", "more", "words"),
    [
        ("uniformly", {}, "'uniform', 'counts', 'lucj'"),
        ({"kind": "lucj", "layer": 2}, {}, "lucj.layer"),
        ({"kind": "lucj", "depolarizing": 1.5}, {}, "less than or equal to 1"),
        ("uniform", {"shots": 0}, "at least one"),
        ("uniform", {"shots": None}, "needs a number of shots"),
        ("uniform", {"nelec": None}, "give a molecule, or norb and nelec"),
        ("uniform", {"nelec": (4, 1)}, "do not fit into 3 orbitals"),
        ("krylov", {}, "needs a molecule"),
        ("uniform", {"sampler": object()}, "no circuit: leave out the sampler"),
    ],
)
def test_faulty_requests_are_refused(source: Any, more: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"norb": 3, "nelec": (1, 1), "shots": 10, "seed": 0, **more}
    with pytest.raises(ConfigurationError, match=words):
        sample_bitstrings(source, **arguments)


def test_a_size_that_is_not_the_molecules_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not those of the molecule"):
        sample_bitstrings("uniform", molecule("h2"), norb=3, nelec=(1, 1), shots=1, seed=0)


# -------------------------------------------------------------------------------------------------- circuits simulated here


@pytest.mark.parametrize("name", ["h2", "lih", "oh"])
@pytest.mark.parametrize("source", [LUCJSource(layers=2, connectivity="all-to-all"), KrylovSource(time_step=0.5)])
def test_simulated_circuits_conserve_the_electrons_of_each_spin(name: str, source: Any) -> None:
    pytest.importorskip("ffsim")
    chosen = molecule(name)
    norb, nelec = chosen.integrals().norb, chosen.integrals().nelec

    rows = sample_bitstrings(source, chosen, shots=3000, seed=2)

    assert rows.shape == (3000, 2 * norb)
    assert set(rows[:, norb:].sum(axis=1)) == {nelec[0]}
    assert set(rows[:, :norb].sum(axis=1)) == {nelec[1]}
    reference = "".join("1" if p < nelec[1] else "0" for p in reversed(range(norb)))
    reference += "".join("1" if p < nelec[0] else "0" for p in reversed(range(norb)))
    assert next(iter(counts_of(rows))) == reference  # the commonest is the reference determinant
    assert len(counts_of(rows)) > 1
    assert np.array_equal(rows, sample_bitstrings(source, chosen, shots=3000, seed=2))


@pytest.mark.parametrize("name", ["lih", "oh"])
def test_the_lucj_state_is_lower_than_hartree_fock(name: str) -> None:
    ffsim = pytest.importorskip("ffsim")
    chosen = molecule(name)
    h, eri, core, norb, nelec = chosen.integrals()

    state = ffsim.apply_unitary(
        ffsim.hartree_fock_state(norb, nelec), lucj_operator(LUCJSource(layers=2), chosen), norb=norb, nelec=nelec
    )

    hamiltonian = ffsim.linear_operator(ffsim.MolecularHamiltonian(h, eri, core), norb=norb, nelec=nelec)
    assert np.vdot(state, hamiltonian @ state).real < chosen.hf_energy() - 1e-4


def test_krylov_samples_follow_the_exact_evolution() -> None:
    pytest.importorskip("ffsim")
    from scipy.linalg import expm

    chosen = molecule("h2")
    h, eri, _, _, _ = chosen.integrals()
    matrix = np.array(  # of the two determinants that couple
        [
            [2 * h[0, 0] + eri[0, 0, 0, 0], eri[0, 1, 0, 1]],
            [eri[0, 1, 0, 1], 2 * h[1, 1] + eri[1, 1, 1, 1]],
        ]
    )
    source = KrylovSource(dimension=4, time_step=0.8, trotter_steps=8)

    counts = counts_of(sample_bitstrings(source, chosen, shots=400_000, seed=1))

    excited = np.mean([abs(expm(-1j * matrix * 0.8 * k)[1, 0]) ** 2 for k in range(4)])
    assert counts["1010"] / 400_000 == pytest.approx(excited, rel=0.05)
    assert set(counts) <= {"0101", "1010", "0110", "1001"}


def test_the_shots_of_a_krylov_space_are_shared_out() -> None:
    pytest.importorskip("ffsim")

    rows = sample_bitstrings(KrylovSource(dimension=5), molecule("h2"), shots=3, seed=0)

    assert len(rows) == 3


def test_depolarising_noise_replaces_a_share_of_the_shots() -> None:
    pytest.importorskip("ffsim")
    exact, noisy = (
        sample_bitstrings(LUCJSource(depolarizing=strength), molecule("lih"), shots=20_000, seed=1)
        for strength in (0, 0.3)
    )

    changed = (exact != noisy).any(axis=1).mean()
    assert changed == pytest.approx(0.3, abs=0.02)
    only_noise = sample_bitstrings(LUCJSource(depolarizing=1), molecule("lih"), shots=20_000, seed=1)
    assert np.abs(only_noise.mean(axis=0) - 0.5).max() < 0.02


def test_bit_flips_are_as_many_as_asked_for() -> None:
    pytest.importorskip("ffsim")
    exact, noisy = (
        sample_bitstrings(LUCJSource(bit_flip=rate), molecule("lih"), shots=20_000, seed=1) for rate in (0, 0.05)
    )

    assert (exact != noisy).mean() == pytest.approx(0.05, abs=0.003)


def test_a_state_too_large_to_simulate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ffsim")
    monkeypatch.setattr("dagster_hpc.sqd.simulated.MOST_AMPLITUDES", 100)

    with pytest.raises(ConfigurationError, match="too many to simulate"):
        sample_bitstrings("lucj", molecule("lih"), shots=1, seed=0)


@pytest.mark.parametrize("name", ["lih", "oh"])
@pytest.mark.parametrize("source", [LUCJSource(), KrylovSource(dimension=2, time_step=0.5)])
def test_qiskits_circuits_prepare_the_states_that_are_simulated_here(name: str, source: Any) -> None:
    ffsim = pytest.importorskip("ffsim")
    chosen = molecule(name)
    norb, nelec = chosen.integrals().norb, chosen.integrals().nelec
    circuit = circuits_of(source, chosen)[-1]
    circuit.remove_final_measurements()

    state = ffsim.qiskit.final_state_vector(circuit)

    probabilities = np.abs(np.asarray(state.vec)) ** 2
    strings = ffsim.addresses_to_strings(
        range(len(probabilities)), norb, nelec, bitstring_type=ffsim.BitstringType.STRING
    )
    likely = {string: p for string, p in zip(strings, probabilities, strict=True) if p > 2e-3}
    shots = 200_000
    if isinstance(source, KrylovSource):
        shots *= 2  # the other half is the first vector, the reference determinant
    counts = counts_of(sample_bitstrings(source, chosen, shots=shots, seed=3))
    first = max(likely, key=likely.__getitem__)
    if isinstance(source, KrylovSource):
        counts[first] -= shots // 2
    for string, probability in likely.items():
        assert counts.get(string, 0) / 200_000 == pytest.approx(probability, abs=2e-3)


# ------------------------------------------------------------------------------------------------------------ IBM Quantum


def fake(name: str) -> Any:
    return getattr(pytest.importorskip("qiskit_ibm_runtime.fake_provider"), name)()


@pytest.mark.parametrize("circuit", [LUCJSource(connectivity="square"), KrylovSource(dimension=2, time_step=1.0)])
def test_a_fake_backend_runs_the_circuits(circuit: Any) -> None:
    pytest.importorskip("ffsim")
    source = IBMSource(circuit=circuit, optimization_level=1)
    how: dict[str, Any] = {"shots": 999, "seed": 3, "backend": fake("FakeManilaV2")}

    rows, fresh = (sample_bitstrings(source, molecule("h2"), reuse=reuse, **how) for reuse in ("succeeded", "never"))

    assert rows.shape == (999, 4)
    assert np.array_equal(rows, fresh)
    assert next(iter(counts_of(rows))) == "0101"


def test_the_same_samples_are_measured_once() -> None:
    pytest.importorskip("ffsim")
    jobs: list[str] = []
    how: dict[str, Any] = {"seed": 3, "on_submit": jobs.append, "source": {"kind": "ibm", "backend": "fake_manila"}}

    rows, again, others = (sample_bitstrings(molecule=molecule("h2"), shots=shots, **how) for shots in (99, 99, 98))

    assert np.array_equal(rows, again)
    assert len(others) == 98
    assert (len(jobs), len(set(jobs))) == (3, 2)


def test_a_sampler_measures_the_circuit_in_place_of_the_simulation(tmp_path: Path) -> None:
    """The same state, sampled by ffsim in the space of the electrons and by Qiskit among all bitstrings."""
    pytest.importorskip("ffsim")
    from dagster_hpc.quantum import LocalSampler

    chosen, source = molecule("lih"), LUCJSource(layers=2)

    measured = sample_bitstrings(source, chosen, shots=40_000, seed=3, sampler=LocalSampler())

    simulated = sample_bitstrings(source, chosen, shots=40_000, seed=3)
    assert set(measured[:, 6:].sum(axis=1)) == set(measured[:, :6].sum(axis=1)) == {2}
    ours, theirs = counts_of(measured), counts_of(simulated)
    assert all(abs(ours.get(text, 0) - count) < 6 * (count + 10) ** 0.5 for text, count in theirs.items())


def test_alpha_is_on_the_right_on_a_backend_too() -> None:
    pytest.importorskip("ffsim")
    source = IBMSource(circuit=KrylovSource(dimension=1), optimization_level=1)

    rows = sample_bitstrings(source, molecule("h"), shots=500, seed=3, backend=fake("FakeManilaV2"))

    assert next(iter(counts_of(rows))) == "0001"  # one alpha electron in orbital 0


def test_a_backend_too_small_is_refused() -> None:
    pytest.importorskip("ffsim")

    with pytest.raises(ConfigurationError, match=r"12 qubits are needed, .* has 5"):
        sample_bitstrings(IBMSource(), molecule("lih"), shots=10, seed=3, backend=fake("FakeManilaV2"))


def test_noise_on_top_of_a_devices_own_is_refused() -> None:
    source = IBMSource(circuit=LUCJSource(bit_flip=0.1))

    with pytest.raises(ConfigurationError, match="noise of its own"):
        sample_bitstrings(source, molecule("h2"), shots=10, seed=3, backend=fake("FakeManilaV2"))


@pytest.mark.parametrize(("named", "asked"), [("ibm_miyazaki", "ibm_miyazaki"), (None, "least busy")])
def test_the_service_is_asked_for_the_backend_and_a_job_is_found_again(
    named: str | None, asked: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runtime = pytest.importorskip("qiskit_ibm_runtime")
    pytest.importorskip("ffsim")
    from tests.quantum.service import Service

    for name in ("QiskitRuntimeService", "Sampler"):
        monkeypatch.setattr(runtime, name, None)  # and put back after the test
    service = Service(tmp_path / "service").install()
    ids: list[str] = []
    source = IBMSource(circuit=KrylovSource(dimension=2), backend=named, account="mine", instance="open")

    rows = sample_bitstrings(source, molecule("h2"), shots=101, seed=3, on_submit=ids.append)
    again = sample_bitstrings(source.model_copy(update={"job_id": ids[0]}), molecule("h2"), shots=101, seed=99)
    whole = sample_bitstrings(source.model_copy(update={"job_id": ids[0]}), molecule("h2"), seed=99)

    assert service.asked == [{"name": "mine", "instance": "open"}, asked, *[{"name": "mine", "instance": "open"}] * 2]
    assert service.ids() == ids
    assert len(rows) == 101
    assert len(whole) == 102  # both circuits have the same number of shots
    assert np.array_equal(rows, again)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ffsim", None)
    monkeypatch.setitem(sys.modules, "qiskit_ibm_runtime", None)

    with pytest.raises(ConfigurationError, match=r"dagster-hpc\[sqd\]"):
        sample_bitstrings("lucj", molecule("h2"), shots=1, seed=0)
    with pytest.raises(ConfigurationError, match=r"dagster-hpc\[ibm\]"):
        sample_bitstrings("ibm", molecule("h2"), shots=1, seed=0)
