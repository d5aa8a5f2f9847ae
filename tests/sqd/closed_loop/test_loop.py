"""The closed loop lowers the energy, and comes to the same end whatever ended it on the way."""

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

from dagster_hpc import HPCJobRunner
from dagster_hpc.dice import DiceSolver
from dagster_hpc.engine.errors import ConfigurationError, HPCError
from dagster_hpc.sqd import Molecule
from dagster_hpc.sqd.closed_loop import ClosedLoopResult, Evolution, Generation, LUCJCircuit, optimize_circuit
from dagster_hpc.sqd.solver import SolverFailed
from dagster_hpc.sqd.sources import LUCJSource
from tests.dice.test_solver import local_runner
from tests.sqd.closed_loop.made import N2, SEED, integrals, loop, numbers_of, strings_of_weights

fermion = pytest.importorskip("qiskit_addon_sqd.fermion")
hpc = pytest.fixture(local_runner, name="hpc")


class Killed(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(scope="module")
def undisturbed() -> ClosedLoopResult:
    return loop()


def killed_after(number: int) -> Any:
    def callback(generation: Generation) -> None:
        if generation.number == number:
            raise Killed

    return callback


# -- what it finds


def test_a_poor_start_becomes_better(undisturbed: ClosedLoopResult) -> None:
    from pyscf import fci

    h, eri, _, norb, nelec = integrals()
    longer = loop(generations=8)
    energies = [one.energy for one in longer.generations]
    assert energies == sorted(energies, reverse=True)
    assert energies[-1] < energies[0] - 0.02
    assert energies[-1] > fci.direct_spin1.kernel(h, eri, norb, nelec)[0]
    assert longer.energy == min(trial.energy for trial in longer.trials if trial.energy is not None)
    assert longer.total_energy == pytest.approx(longer.energy + integrals().core_energy)
    assert np.array_equal(longer.parameters, longer.generations[-1].population[longer.generations[-1].best])


def test_the_parameters_of_ccsd_are_where_an_lucj_circuit_starts() -> None:
    h2 = Molecule(geometry="H 0 0 0; H 0 0 0.74; H 0 0 2; H 0 0 2.74", basis="sto-3g")
    result = optimize_circuit(h2, seed=1, generations=2, population=4, shots=500, samples_per_batch=20, max_dim=4)
    circuit = LUCJCircuit(LUCJSource(), 4, (2, 2))
    np.testing.assert_array_equal(result.generations[0].parameters[0], circuit.start(h2))
    assert result.correlation_energy < 0
    assert all(trial.right_electrons == 1 for trial in result.trials)


@pytest.mark.parametrize(("charge", "spin", "nelec"), [(0, 0, (2, 2)), (1, 1, (2, 1))])
def test_an_lucj_circuit_samples_what_the_source_samples(charge: int, spin: int, nelec: tuple[int, int]) -> None:
    """Parameters there and back again are the same circuit, for open shells too."""
    import ffsim

    molecule = Molecule(geometry="Li 0 0 0; H 0 0 1.6", basis="sto-3g", frozen_core=0, charge=charge, spin=spin)
    size = molecule.integrals()
    circuit = LUCJCircuit(LUCJSource(layers=1, connectivity="square"), size.norb, size.nelec)
    from dagster_hpc.sqd.circuits import lucj_operator

    reference = ffsim.hartree_fock_state(size.norb, size.nelec)
    made = [
        ffsim.apply_unitary(reference, operator, norb=size.norb, nelec=size.nelec)
        for operator in (circuit.operator(circuit.start(molecule)), lucj_operator(circuit.source, molecule))
    ]
    assert abs(np.vdot(*made)) == pytest.approx(1)
    assert size.nelec == nelec
    bits = circuit(circuit.start(molecule), 30, 5)
    assert bits.shape == (30, 2 * size.norb)
    assert np.array_equal(bits, circuit(circuit.start(molecule), 30, 5))


def test_positive_energies_are_accepted(undisturbed: ClosedLoopResult) -> None:
    """An optimiser whose energies begin at zero would never take a trial of this molecule."""
    h, *rest = integrals()
    shifted = loop(molecule=type(integrals())(h + 10 * np.eye(len(h)), *rest))
    assert shifted.energy > 0
    assert all(trial.accepted for trial in shifted.generations[0].trials)
    assert shifted.energy == pytest.approx(undisturbed.energy + 60, abs=1e-6)


def test_the_best_trials_strings_go_into_the_next_generation(undisturbed: ClosedLoopResult) -> None:
    asked: list[Any] = []

    def solver(subspaces: Any, *hamiltonian: Any) -> Any:
        asked.append(subspaces)
        return fermion.solve_sci_batch(subspaces, *hamiltonian)

    loop(solver=solver, generations=2)
    (alpha, _), half = undisturbed.generations[0].carryover, 2
    assert len(asked) == 2  # one call for each generation
    assert all({int(one) for one in alpha[:half]} <= {int(one) for one in pair[0]} for pair in asked[1])


def test_the_seed_alone_decides(undisturbed: ClosedLoopResult) -> None:
    assert numbers_of(loop()) == numbers_of(undisturbed)
    assert numbers_of(loop(seed=SEED + 1)) != numbers_of(undisturbed)


def test_the_seed_drives_recovery_too() -> None:
    """Bitstrings with wrong electrons, the same for each seed: what they are made into is left to chance."""
    noise = np.random.default_rng(3).integers(2, size=(20, 12), dtype=bool)
    asked: dict[str, Any] = {
        "sampler": lambda parameters, shots, seed: noise, "initial_occupancies": (np.full(6, 0.5), np.full(6, 0.5)),
        "generations": 2, "sqd_iterations": 2, "samples_per_batch": 100, "max_dim": None,
    }  # fmt: skip
    first, again, other = (numbers_of(loop(**asked, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert [one[3] for one in first] != [one[3] for one in other]


def test_no_two_trials_share_their_random_numbers(undisturbed: ClosedLoopResult) -> None:
    seeds: list[int] = []

    def sampler(parameters: Any, shots: int, seed: int) -> Any:
        seeds.append(seed)
        return strings_of_weights(parameters, shots, seed)

    loop(sampler=sampler)
    assert len(set(seeds)) == len(seeds) == 20


# -- trials that fail


def failing(*places: int) -> Any:
    """A sampler that fails for these trials of the first generation."""
    calls: list[int] = []

    def sampler(parameters: Any, shots: int, seed: int) -> Any:
        calls.append(seed)
        if len(calls) - 1 in places:
            raise HPCError("the device was busy")
        return strings_of_weights(parameters, shots, seed)

    return sampler


def test_a_trial_that_fails_is_challenged_like_any_other() -> None:
    result = loop(sampler=failing(0, 3))
    first = result.generations[0]
    assert [trial.energy is None for trial in first.trials] == [True, False, False, True, False]
    assert first.trials[3].problem == "the device was busy"
    assert np.isinf(first.energies[[0, 3]]).all()
    assert np.isfinite(first.mean_energy)
    assert np.isfinite(result.generations[-1].energies).all()


def test_one_bad_subspace_does_not_spoil_the_others() -> None:
    calls: list[int] = []

    def solver(subspaces: Any, *hamiltonian: Any) -> Any:
        calls.append(len(subspaces))
        if len(calls) in (1, 3):  # all of the first generation, then its second trial alone
            raise SolverFailed("no convergence")
        return fermion.solve_sci_batch(subspaces, *hamiltonian)

    result = loop(solver=solver, generations=1)
    assert calls == [5, 1, 1, 1, 1, 1]
    assert [trial.problem for trial in result.trials] == ["", "no convergence", "", "", ""]


def test_all_trials_failing_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SolverFailed, match=r"none of the 5 trials of generation 1 has an energy.*the device was busy"):
        loop(sampler=failing(*range(5)), state_dir=tmp_path)

    def nan(*asked: Any) -> Any:
        return [replace(one, energy=float("nan")) for one in fermion.solve_sci_batch(*asked)]

    with pytest.raises(SolverFailed, match="the solver returned the energy nan"):
        loop(solver=nan)
    with pytest.raises(SolverFailed, match="none of its 20 bitstrings has the right numbers of electrons"):
        loop(sampler=lambda parameters, shots, seed: np.ones((shots, 12), bool))
    assert not list(tmp_path.rglob("generation-*"))


def test_a_wrong_request_is_no_failed_trial() -> None:
    def solver(*_: Any) -> Any:
        raise ConfigurationError("no such profile")

    with pytest.raises(ConfigurationError, match="no such profile"):
        loop(solver=solver)
    with pytest.raises(ConfigurationError, match="a matrix of booleans"):
        loop(sampler=lambda parameters, shots, seed: np.ones((shots, 5), bool))


def test_all_faults_are_in_one_message() -> None:
    wrong: dict[str, Any] = {"generations": 0, "population": 3, "shots": 0, "seed": -1, "start": None, "prfile": "x"}
    with pytest.raises(ConfigurationError) as error:
        loop(**wrong, evolution=Evolution(weight=0.0, crossover=2.0))
    assert len(error.value.faults) == 8


# -- whatever ends it


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_killed_between_generations(number: int, undisturbed: ClosedLoopResult, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        loop(state_dir=tmp_path, callback=killed_after(number))
    resumed = loop(state_dir=tmp_path)
    assert resumed.resumed == number
    assert numbers_of(resumed) == numbers_of(undisturbed)
    assert resumed.parameters.tolist() == undisturbed.parameters.tolist()


@pytest.mark.parametrize("call", [3, 8, 14])
def test_killed_within_a_generation(call: int, undisturbed: ClosedLoopResult, tmp_path: Path) -> None:
    calls: list[int] = []

    def dies(parameters: Any, shots: int, seed: int) -> Any:
        calls.append(seed)
        if len(calls) == call:
            raise Killed
        return strings_of_weights(parameters, shots, seed)

    with pytest.raises(Killed):
        loop(state_dir=tmp_path, sampler=dies)
    resumed = loop(state_dir=tmp_path)
    assert resumed.resumed == (call - 1) // 5
    assert numbers_of(resumed) == numbers_of(undisturbed)


def test_more_generations_go_on_and_fewer_look_back(undisturbed: ClosedLoopResult, tmp_path: Path) -> None:
    loop(state_dir=tmp_path, generations=2)
    assert numbers_of(loop(state_dir=tmp_path)) == numbers_of(undisturbed)
    assert numbers_of(loop(state_dir=tmp_path, generations=3)) == numbers_of(undisturbed)[:3]


def test_a_damaged_generation_is_done_again(undisturbed: ClosedLoopResult, tmp_path: Path) -> None:
    loop(state_dir=tmp_path)
    (arrays,) = tmp_path.glob("*/generation-0003.npz")
    arrays.write_bytes(arrays.read_bytes()[:-7])
    with pytest.warns(UserWarning, match="generation 3 is damaged"):
        resumed = loop(state_dir=tmp_path)
    assert resumed.resumed == 2
    assert numbers_of(resumed) == numbers_of(undisturbed)


def test_one_folder_for_each_calculation(tmp_path: Path) -> None:
    once: dict[str, Any] = {"generations": 1, "state_dir": tmp_path}
    for changed in ({}, {"seed": 1}, {"shots": 21}, {"key": "x"}, {"start": np.ones(6)}, {"evolution": Evolution()}):
        loop(**once, **changed)
    assert len(list(tmp_path.iterdir())) == 6
    assert loop(**once).resumed == 1


def test_orbitals_and_parameters_of_the_first_start_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Killed):
        loop(molecule=N2, state_dir=tmp_path, callback=killed_after(1))

    def never(self: Molecule) -> Any:
        raise AssertionError("the integrals are computed again")

    monkeypatch.setattr(Molecule, "integrals", never)
    assert loop(molecule=N2, state_dir=tmp_path, generations=2).resumed == 1


PROGRAM = """
import json, os, signal, sys, threading, time
from pathlib import Path
from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget
from dagster_hpc.dice import DiceSolver
from dagster_hpc.sqd.closed_loop import state
from tests.sqd.closed_loop.made import N2, loop, numbers_of

folder, dies = Path(sys.argv[1], "killed"), sys.argv[2]
folder.mkdir(exist_ok=True)
write = state.ClosedLoopState.write

def die(self, generation):
    write(self, generation)
    if dies == "after 1 is written" and generation.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)

state.ClosedLoopState.write = die
hpc = HPCJobRunner(
    target=LocalTarget(poll_interval=0.3, spool=str(folder / "spool")), profiles={"serial": ExecutionProfile()},
    work_root=str(folder / "jobs"), ledger_url=f"sqlite:///{folder}/ledger.db",
)
submit = HPCJobRunner.map

def submitted(hpc):
    return [row.job_id for row in hpc.jobs() if row.job_id]

def kill_when_submitted(hpc):
    while len(submitted(hpc)) < 8:
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)

def map(self, *asked, **how):
    if dies == "while 2 runs" and "-2-" in how["key"]:
        threading.Thread(target=kill_when_submitted, args=[self]).start()
    return submit(self, *asked, **how)

HPCJobRunner.map = map
dice = DiceSolver(hpc=hpc, profile="serial", select_cutoff=None)
result = loop(molecule=N2, solver=dice, in_process_below=0, state_dir=folder / "state", generations=2, population=4)
print(json.dumps([result.resumed, submitted(hpc), [job["token"] for job in result.jobs], numbers_of(result)]))
"""


def test_killed_with_jobs_in_the_queue_no_job_runs_twice(tmp_path: Path, hpc: HPCJobRunner) -> None:
    def process(when: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", PROGRAM, str(tmp_path), when]
        return subprocess.run(argv, capture_output=True, text=True, timeout=300)

    for when in ("after 1 is written", "while 2 runs"):
        done = process(when)
        assert done.returncode == -signal.SIGKILL, done.stderr
    last = process("never")
    assert last.returncode == 0, last.stderr
    resumed, jobs, tokens, found = json.loads(last.stdout)
    assert resumed == 1
    assert len(jobs) == len(set(tokens)) == 8  # four trials in each of two generations
    here = DiceSolver(hpc=hpc, select_cutoff=None)  # the same solver, in this process
    expected = loop(generations=2, population=4, molecule=_kept(tmp_path), solver=here)
    energies = [one[0] for one in json.loads(json.dumps(numbers_of(expected)))]
    np.testing.assert_allclose([one[0] for one in found], energies, atol=1e-7)


def _kept(folder: Path) -> Any:
    """The integrals of the first process."""
    from dagster_hpc.sqd.state import State

    (calculation,) = (folder / "killed" / "state").iterdir()
    inputs = State(calculation).inputs()
    assert inputs is not None
    return inputs.integrals


def test_a_generation_is_one_array_of_jobs(hpc: HPCJobRunner) -> None:
    dice = DiceSolver(hpc=hpc, select_cutoff=None)
    result = loop(solver=dice, in_process_below=0, generations=1, population=4)
    assert len(hpc.jobs()) == len(result.jobs) == 4
    assert len({row.job_id.split("[")[0].split("_")[0] for row in hpc.jobs() if row.job_id}) == 1
    assert result.node_hours is not None
    assert all(trial.spin_square is not None for trial in result.trials)
