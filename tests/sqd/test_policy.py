"""Another schedule of an iteration, as qiskit-addon-sqd's TrimPolicy: the same answers as there, and resumed like any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd import Iteration, Molecule, SQDConfig, run_sqd, sample_bitstrings
from dagster_hpc.sqd.config import included_of, max_dim_of, policy_of, with_defaults

fermion = pytest.importorskip("qiskit_addon_sqd.fermion")
trim = pytest.importorskip("qiskit_addon_sqd.trim")

N2 = Molecule(geometry="N 0 0 0; N 0 0 1.2", basis="6-31g", symmetry=True, active_space=(6, 6))
LOOP: dict[str, Any] = {"samples_per_batch": 6, "num_batches": 3, "seed": 24, "max_iterations": 4}


def bits() -> Any:
    return sample_bitstrings("uniform", N2, shots=200, seed=24)


@pytest.mark.parametrize("symmetrize_spin", [False, True])
def test_every_iteration_is_that_of_qiskit_addon_sqd(symmetrize_spin: bool) -> None:
    settings: dict[str, Any] = {"trim_ratio": 0.4, "carryover_ratio": 0.5, "max_carryover": 5}
    asked = {**LOOP, "symmetrize_spin": symmetrize_spin}
    ours = run_sqd(N2, bits(), policy=trim.TrimPolicy(**settings), **asked)

    theirs: list[float] = []
    h, eri, _, norb, nelec = N2.integrals()
    result = fermion.diagonalize_fermionic_hamiltonian(
        h, eri, bits(), norb=norb, nelec=nelec, policy=trim.TrimPolicy(**settings),
        callback=lambda results: theirs.append(min(one.energy for one in results)), **asked,
    )  # fmt: skip
    assert [one.energy for one in ours.iterations] == pytest.approx(theirs, abs=1e-8)
    assert ours.energy == pytest.approx(result.energy, abs=1e-8)
    assert {one.rounds for one in ours.iterations} == {2}
    assert all(len(one.subspaces) == 1 for one in ours.iterations)  # of the merged survivors


class Killed(Exception):
    """Stands for whatever ends a process."""


def test_it_resumes_to_the_same_end(tmp_path: Path) -> None:
    def killed(iteration: Iteration) -> None:
        if iteration.number == 2:
            raise Killed

    with pytest.raises(Killed):
        run_sqd(N2, bits(), policy=trim.TrimPolicy(), state_dir=tmp_path, callback=killed, **LOOP)
    resumed = run_sqd(N2, bits(), policy=trim.TrimPolicy(), state_dir=tmp_path, **LOOP)
    undisturbed = run_sqd(N2, bits(), policy=trim.TrimPolicy(), **LOOP)
    assert resumed.resumed == 2
    assert [one.energy for one in resumed.iterations] == [one.energy for one in undisturbed.iterations]


def test_its_settings_tell_a_calculation_from_others(tmp_path: Path) -> None:
    for policy in (None, trim.TrimPolicy(), trim.TrimPolicy(trim_ratio=0.2), trim.TrimPolicy(trim_ratio=0.2)):
        run_sqd(N2, bits(), policy=policy, state_dir=tmp_path, **{**LOOP, "max_iterations": 1})
    assert len(list(tmp_path.iterdir())) == 3


def test_a_policy_whose_settings_cannot_be_written_is_refused() -> None:
    policy = trim.TrimPolicy()
    policy.rng = np.random.default_rng(1)
    with pytest.raises(ConfigurationError, match="TrimPolicy cannot be told from others"):
        run_sqd(N2, bits(), policy=policy, **LOOP)


def test_a_threshold_beside_a_policy_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="one of the policy's own settings"):
        run_sqd(N2, bits(), policy=trim.TrimPolicy(), carryover_threshold=1e-3, **LOOP)


def test_a_policy_may_report_a_result_of_its_own() -> None:
    class Rounded(fermion.StandardPolicy):  # type: ignore[misc, name-defined]
        def select_result(self, results: list[Any]) -> Any:
            lowest = super().select_result(results)
            return fermion.SCIResult(round(lowest.energy, 3), lowest.sci_state, lowest.orbital_occupancies)

    result = run_sqd(N2, bits(), policy=Rounded(), **LOOP)
    assert result.energy == round(result.energy, 3)
    assert result.determinants > 1


def test_the_hf_string_is_in_every_subspace() -> None:
    """Without recovery's help: the samples of this loop are far from the reference determinant."""
    strings: list[Any] = []

    def watched(ci_strings: Any, *asked: Any) -> Any:
        strings.extend(ci_strings)
        return fermion.solve_sci_batch(ci_strings, *asked)

    run_sqd(N2, bits(), include_configurations="hf", sci_solver=watched, **LOOP)
    assert all(0b000111 in alpha and 0b000111 in beta for alpha, beta in strings)


@pytest.mark.parametrize(
    ("included", "words"),
    [
        ([0b11], "alpha string 11; wanted are 3 electrons in 6 orbitals"),
        (([0b111], [0b1110000000]), "beta string 1110000000"),
        ([-7], "wanted are 3 electrons"),
    ],
)
def test_strings_that_are_none_are_refused(included: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        run_sqd(N2, bits(), include_configurations=included, **LOOP)


@pytest.mark.parametrize(
    ("words", "included"),
    [
        (None, None),
        (["hf"], (["hf"], ["hf"])),
        (["7", "0b1011"], ([7, 11], [7, 11])),
        (["7:0xb", "hf:"], ([7, "hf"], [11])),
    ],
)
def test_strings_on_the_launchpad(words: list[str] | None, included: Any) -> None:
    assert included_of(words) == included


def test_what_is_no_string_on_the_launchpad_is_said() -> None:
    with pytest.raises(ConfigurationError, match="has 'seven'"):
        included_of(["seven"])


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"max_dim": 5}, 5),
        ({"max_dim": (5, 7)}, (5, 7)),
        ({"max_dim": None}, None),
        ({"include_configurations": "hf"}, (["hf"], ["hf"])),
        ({"include_configurations": [7, "hf"]}, ([7, "hf"], [7, "hf"])),
        ({"include_configurations": ([7], [11, 13])}, ([7], [11, 13])),
    ],
)
def test_a_default_of_build_sqd_assets_is_on_the_launchpad(given: dict[str, Any], read: Any) -> None:
    """What a script gives as tuples and numbers, Dagster's config has as numbers and texts."""
    config = with_defaults(SQDConfig, "Config", given)()
    (name,) = given
    assert (max_dim_of(config) if name == "max_dim" else included_of(config.include_configurations)) == read


def test_the_policy_of_the_launchpad() -> None:
    assert policy_of(SQDConfig()) is None
    policy = policy_of(SQDConfig(policy="trim", trim_ratio=0.3, max_carryover=9))
    assert (policy.trim_ratio, policy.max_carryover) == (0.3, 9)  # type: ignore[union-attr]
    for wrong, words in (({"policy": "trimmed"}, "policy is 'trimmed'"), ({"max_dim_beta": 3}, "needs max_dim")):
        with pytest.raises(ConfigurationError, match=words):
            policy_of(SQDConfig(**wrong)), max_dim_of(SQDConfig(**wrong))
