"""The loop is qiskit-addon-sqd's own, and goes on where it stood whatever ended it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd import Iteration, Molecule, SQDResult, run_sqd, sample_bitstrings
from dagster_hpc.sqd.npz import strings_of, words_of
from dagster_hpc.sqd.solver import SolverFailed
from dagster_hpc.sqd.state import State

fermion = pytest.importorskip("qiskit_addon_sqd.fermion")

N2 = Molecule(geometry="N 0 0 0; N 0 0 1.2", basis="6-31g", symmetry=True, active_space=(6, 6))
DOUBLET = Molecule(geometry="N 0 0 0; N 0 0 1.2", basis="6-31g", symmetry=True, charge=1, spin=1, active_space=(5, 6))
SEED = 24
LOOP: dict[str, Any] = {"samples_per_batch": 6, "num_batches": 2, "seed": SEED, "max_iterations": 5}


class Killed(Exception):
    """Stands for whatever ends a process."""


def samples(molecule: Molecule = N2) -> Any:
    return sample_bitstrings("uniform", molecule, shots=200, seed=SEED)


def sqd(state: Path | None = None, **changed: Any) -> SQDResult:
    return run_sqd(N2, samples(), state_dir=state, **{**LOOP, **changed})


def killed_after(number: int) -> Any:
    def callback(iteration: Iteration) -> None:
        if iteration.number == number:
            raise Killed

    return callback


def same(one: SQDResult, other: SQDResult) -> bool:
    assert one.sci_state is not None
    assert other.sci_state is not None
    return (
        one.energy == other.energy
        and [step.energies for step in one.iterations] == [step.energies for step in other.iterations]
        and [step.rng_state for step in one.iterations] == [step.rng_state for step in other.iterations]
        and np.array_equal(one.sci_state.amplitudes, other.sci_state.amplitudes)
        and np.array_equal(one.occupancies, other.occupancies)
        and one.converged == other.converged
    )


@pytest.fixture(scope="module")
def undisturbed() -> SQDResult:
    return sqd()


@pytest.mark.parametrize(
    ("molecule", "changed"),
    [
        (N2, {}),
        (N2, {"symmetrize_spin": True, "max_dim": 8, "max_iterations": 20}),
        (N2, {"initial_occupancies": "ccsd", "max_dim": (7, 9), "max_iterations": 20}),
        (N2, {"include_configurations": [0b000111, 0b001011], "carryover_threshold": 0.05}),
        (N2, {"num_batches": 1, "max_iterations": 1}),
        (DOUBLET, {"initial_occupancies": "hf"}),
    ],
    ids=["plain", "symmetric", "from-ccsd", "included", "once", "open-shell"],
)
def test_every_iteration_is_that_of_qiskit_addon_sqd(molecule: Molecule, changed: dict[str, Any]) -> None:
    asked = {**LOOP, **changed}
    ours = run_sqd(molecule, samples(molecule), **asked)

    theirs: list[float] = []
    integrals = molecule.integrals()
    if "initial_occupancies" in asked:
        asked["initial_occupancies"] = molecule.initial_occupancies(asked["initial_occupancies"])
    result = fermion.diagonalize_fermionic_hamiltonian(
        integrals.one_body, integrals.two_body, samples(molecule), norb=integrals.norb, nelec=integrals.nelec,
        callback=lambda results: theirs.append(min(one.energy for one in results)), **asked,
    )  # fmt: skip

    assert [one.energy for one in ours.iterations] == pytest.approx(theirs, abs=1e-8)
    assert ours.energy == pytest.approx(result.energy, abs=1e-8)
    np.testing.assert_allclose(ours.occupancies, result.orbital_occupancies, atol=1e-8)
    assert ours.sci_state is not None
    np.testing.assert_array_equal(ours.sci_state.ci_strs_a, result.sci_state.ci_strs_a)
    assert len(ours.iterations) == len(theirs)  # and so ends where theirs does


def test_the_seed_alone_decides(undisturbed: SQDResult) -> None:
    assert same(sqd(), undisturbed)
    assert sqd(seed=SEED + 1).iterations[0].energies != undisturbed.iterations[0].energies


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_killed_at_any_iteration_it_resumes_to_the_same_end(
    number: int, undisturbed: SQDResult, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        sqd(tmp_path, callback=killed_after(number))
    resumed = sqd(tmp_path)
    assert resumed.resumed == number
    assert same(resumed, undisturbed)


def test_killed_while_it_diagonalizes_it_does_that_iteration_again(undisturbed: SQDResult, tmp_path: Path) -> None:
    calls = []

    def dies_in_third_iteration(*asked: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return fermion.solve_sci_batch(*asked)

    with pytest.raises(Killed):
        sqd(tmp_path, sci_solver=dies_in_third_iteration)
    resumed = sqd(tmp_path, sci_solver=lambda *asked: fermion.solve_sci_batch(*asked))
    assert resumed.resumed == 2
    assert same(resumed, undisturbed)


PROGRAM = """
import os, signal, sys
from tests.sqd.test_run import sqd
from pathlib import Path

def kill(iteration):
    if iteration.number == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

print(repr(sqd(Path(sys.argv[1]), callback=kill).energy))
"""


def test_a_process_that_is_killed_is_resumed_by_another(tmp_path: Path) -> None:
    def process(number: int) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", PROGRAM, str(tmp_path), str(number)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120)

    assert process(2).returncode == -signal.SIGKILL
    assert process(4).returncode == -signal.SIGKILL
    last = process(99)
    # The orbitals of the first process: those of this one differ in the last digits, from where the loop may go elsewhere.
    (folder,) = tmp_path.iterdir()
    kept = State(folder).inputs()
    assert kept is not None
    undisturbed = run_sqd(kept.integrals, samples(), **LOOP)
    assert float(last.stdout) == pytest.approx(undisturbed.energy, abs=1e-8), last.stderr
    assert sqd(tmp_path).resumed == LOOP["max_iterations"]


def test_a_damaged_record_is_done_again(undisturbed: SQDResult, tmp_path: Path) -> None:
    sqd(tmp_path)
    (arrays,) = tmp_path.glob("*/iteration-0003.npz")
    arrays.write_bytes(arrays.read_bytes()[:-7])
    with pytest.warns(UserWarning, match="iteration 3 is damaged"):
        resumed = sqd(tmp_path)
    assert resumed.resumed == 2
    assert same(resumed, undisturbed)


def test_an_unfinished_file_is_no_iteration(undisturbed: SQDResult, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        sqd(tmp_path, callback=killed_after(3))
    (record,) = tmp_path.glob("*/iteration-0003.json")
    record.rename(record.with_name(".iteration-0003.json.1.ab"))
    resumed = sqd(tmp_path)
    assert resumed.resumed == 2
    assert same(resumed, undisturbed)


def test_more_iterations_go_on_and_fewer_look_back(undisturbed: SQDResult, tmp_path: Path) -> None:
    sqd(tmp_path, max_iterations=2)
    assert same(sqd(tmp_path), undisturbed)
    assert same(sqd(tmp_path, max_iterations=2), sqd(max_iterations=2))


def test_one_folder_for_each_calculation(tmp_path: Path) -> None:
    once: dict[str, Any] = {"max_iterations": 1}
    sqd(tmp_path, **once)
    for changed in ({"seed": 1}, {"samples_per_batch": 5}, {"key": "x"}, {"initial_occupancies": "hf"}):
        sqd(tmp_path, **once, **changed)
    assert len(list(tmp_path.iterdir())) == 5
    shuffled = np.random.default_rng(0).permutation(samples())
    assert run_sqd(N2, shuffled, state_dir=tmp_path, **{**LOOP, **once}).resumed == 1


def test_the_orbitals_of_the_first_start_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orbitals of equal energy may come out turned; the samples would not fit them any more."""
    with pytest.raises(Killed):
        sqd(tmp_path, callback=killed_after(1))

    def never(self: Molecule) -> Any:
        raise AssertionError("the integrals are computed again")

    bits = samples()
    monkeypatch.setattr(Molecule, "integrals", never)
    assert run_sqd(N2, bits, state_dir=tmp_path, **LOOP).resumed == 1


def test_nothing_in_the_folder_is_a_pickle(tmp_path: Path) -> None:
    sqd(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".npz", ".json"}
    for path in files:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                assert all(arrays[name].dtype != object for name in arrays)
        else:
            json.loads(path.read_text())


def test_a_solver_without_a_state_is_enough(tmp_path: Path, undisturbed: SQDResult) -> None:
    """As one that keeps a sparse state to itself and says what to carry over."""

    def sparse(*asked: Any) -> Any:
        policy = fermion.StandardPolicy()
        return [
            replace(one, sci_state=None, carryover=policy.select_carryover(one))
            for one in fermion.solve_sci_batch(*asked)
        ]

    with pytest.raises(Killed):
        sqd(tmp_path, sci_solver=sparse, callback=killed_after(2))
    result = sqd(tmp_path, sci_solver=sparse)
    assert result.energy == undisturbed.energy
    assert result.sci_state is None
    assert result.spin_square is None
    assert result.determinants == result.best.largest_subspace


def test_an_energy_that_is_no_number_is_an_error_and_no_iteration(tmp_path: Path) -> None:
    def broken(*asked: Any) -> Any:
        return [replace(one, energy=float("nan")) for one in fermion.solve_sci_batch(*asked)]

    with pytest.raises(SolverFailed, match="iteration 1: the solver returned the energies"):
        sqd(tmp_path, sci_solver=broken)
    assert not list(tmp_path.glob("*/iteration-*"))


def test_energies_add_up(undisturbed: SQDResult) -> None:
    assert undisturbed.reference_energy == pytest.approx(N2.hf_energy(), abs=1e-10)
    assert undisturbed.total_energy == pytest.approx(undisturbed.energy + N2.integrals().core_energy)
    assert undisturbed.correlation_energy < 0
    assert undisturbed.best.energy == min(one.energy for one in undisturbed.iterations)
    assert undisturbed.spin_square == pytest.approx(
        undisturbed.sci_state.spin_square() if undisturbed.sci_state else None
    )


def test_an_open_shells_reference_energy() -> None:
    result = run_sqd(DOUBLET, samples(DOUBLET), **{**LOOP, "max_iterations": 1, "initial_occupancies": "hf"})
    assert result.reference_energy == pytest.approx(DOUBLET.hf_energy(), abs=1e-10)


def test_all_faults_are_in_one_message() -> None:
    with pytest.raises(ConfigurationError) as error:
        run_sqd(N2, np.zeros((2, 3)), samples_per_batch=0, num_batches=0, seed=-1, max_iterations=0)
    assert len(error.value.faults) == 5


def test_a_misspelt_argument_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_iteration: only a SubspaceSolver such as"):
        run_sqd(N2, samples(), **LOOP, max_iteration=3)


@pytest.mark.parametrize(
    ("bits", "changed", "words"),
    [
        (np.ones((3, 10), bool), {}, "6 orbitals need 12"),
        (np.ones((3, 12), bool), {}, "none of the 3 bitstrings has 3 alpha and 3 beta electrons"),
        (np.ones((3, 12), bool), {"symmetrize_spin": True, "max_dim": (2, 3)}, "one max_dim"),
        (np.ones((3, 12), bool), {"initial_occupancies": (np.ones(5), np.ones(5))}, "two arrays of 6"),
    ],
)
def test_what_does_not_fit_is_refused(bits: Any, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        run_sqd(N2, bits, **{**LOOP, **changed})


@pytest.mark.parametrize("strings", [[1, 2**62], [1 << 100, 2**64 - 1, 0], []])
def test_strings_of_any_length_come_back(strings: list[int]) -> None:
    wide = any(one >= 2**63 for one in strings)
    array = np.array(strings, object if wide else np.int64)
    back = strings_of(words_of(array))
    assert back.tolist() == strings
    assert back.dtype == array.dtype
