"""Several states of one run: each is checked, and none below them may have been missed. The files are a real Dice's."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagster_hpc import HPCJobRunner
from dagster_hpc.dice import DiceSolver, EmbeddedSolver
from dagster_hpc.dice.files import read_dice_outputs
from dagster_hpc.dice.inputs import read_input
from dagster_hpc.dice.io_manager import from_bytes, to_bytes
from dagster_hpc.dice.metadata import dice_metadata
from dagster_hpc.dice.output_text import DiceNotConverged
from dagster_hpc.dice.result import DiceResult
from dagster_hpc.dice.validation import DiceResultInvalid
from dagster_hpc.electrons.fcidump import read_fcidump
from tests.diagonalization.slater_condon import matrix
from tests.dice.golden import FOLDER, case
from tests.dice.stand_ins import EMBEDDED
from tests.dice.test_solver import counted, local_runner, problem, solver, starts

hpc = pytest.fixture(local_runner, name="hpc")
O2 = case("_roots/o2_sto3g")  # a triplet, and a degenerate pair of singlets above it
MISSED = case("_roots/n2_missed")


def read(folder: Path = O2.folder, **how: Any) -> DiceResult:
    return read_dice_outputs(folder, norb=O2.norb, nelec=O2.nelec, **how)


def replay(name: str) -> str:
    return f"cp {FOLDER / name}/{{shci.e,dets*.bin,spin1RDM.*}} . ; cat {FOLDER / name}/dice.out"


@pytest.fixture
def o2(tmp_path: Path) -> Path:
    return O2.copy_to(tmp_path)


def rejected(folder: Path, **how: Any) -> DiceResultInvalid:
    with pytest.raises(DiceResultInvalid) as caught:
        read(folder, **how)
    return caught.value


# -- reading


def test_every_root_is_read_with_its_own_state() -> None:
    roots = read().roots
    assert [root.energy for root in roots] == list(roots[0].energies) == O2.meta["energies"]
    assert [root.spin_square for root in roots] == pytest.approx(O2.meta["s2"], abs=1e-9)
    assert [len(root.state) for root in roots] == [784] * 3
    assert roots[0].root == 0
    assert roots[0].others == roots[1:]


def test_every_root_is_asked_all_questions() -> None:
    checks = {check.name: check for check in read().checks}
    assert [name for name, check in checks.items() if check.passed is None] == ["sampled_residual"]
    assert checks["residual"].sentence.startswith("root 2: ")  # the one with the largest
    assert len(read().checks) == len(checks)


def test_a_run_with_several_roots_is_stored_and_read_back() -> None:
    stored: DiceResult = from_bytes(to_bytes(read().of_spin(0.0)))
    assert stored.root == 1
    assert [root.energy for root in stored.roots] == O2.meta["energies"]
    assert stored.roots[2].spin_square == pytest.approx(0, abs=1e-9)
    assert stored.text is not None


def test_the_metadata_have_a_table_of_the_roots() -> None:
    rows = dice_metadata(read())["roots"].value.records  # type: ignore[union-attr]
    assert [round(row.data["spin_square"], 6) for row in rows] == [2, 0, 0]
    assert "roots" not in dice_metadata(case_of_one_root())


def case_of_one_root() -> DiceResult:
    one = case("lih_sto3g")
    return read_dice_outputs(one.folder, norb=one.norb, nelec=one.nelec)


@pytest.mark.parametrize("name", ["dets_1.bin", "dets_2.bin", "spin1RDM.1.1.txt"])
def test_the_file_of_a_root_that_is_missing_is_named(o2: Path, name: str) -> None:
    (o2 / name).unlink()
    assert f"missing: {name}" in str(rejected(o2))


def test_an_energy_that_is_missing_is_named(o2: Path) -> None:
    (o2 / "shci.e").write_bytes((o2 / "shci.e").read_bytes()[:16])
    assert rejected(o2).names == ("energy_size",)


def test_a_wrong_state_of_one_root_is_found_whatever_the_others_say(o2: Path) -> None:
    data = bytearray((o2 / "dets_1.bin").read_bytes())
    data[8:16] = struct.pack("<d", 0.6)
    (o2 / "dets_1.bin").write_bytes(data)
    error = rejected(o2)
    assert {"norm", "rdm_diagonal", "printed_determinants"} <= set(error.names)
    assert "- norm: root 1: the squared coefficients sum up to" in str(error)


def test_a_wrong_energy_of_one_root_is_found(o2: Path) -> None:
    energies = [*O2.meta["energies"][:2], O2.meta["energies"][2] + 1e-6]
    (o2 / "shci.e").write_bytes(np.array(energies, "<f8").tobytes())
    assert {"printed_energy", "expectation"} <= set(rejected(o2).names)


def test_one_state_given_twice_is_found(o2: Path) -> None:
    """It is an eigenstate with the right energy and as low as the other one of the degenerate pair."""
    for old, new in (("dets_1.bin", "dets_2.bin"), ("spin1RDM.1.1.txt", "spin1RDM.2.2.txt")):
        (o2 / new).write_bytes((o2 / old).read_bytes())
    (o2 / "dice.out").unlink()
    assert "the overlap of root 1 and root 2 is 1.0e+00" in str(rejected(o2))


@pytest.mark.parametrize("recompute_up_to", [10_000, 10])
def test_a_state_that_was_missed_is_found(recompute_up_to: int) -> None:
    """A real Dice gave an eigenstate 0.28 Hartree above the second one, with exit code 0 and all else in order."""
    with pytest.raises(DiceResultInvalid, match=r"root 1 lies 2\.8e-01 Hartree above the same root") as caught:
        read_dice_outputs(
            MISSED.folder, norb=MISSED.norb, nelec=MISSED.nelec, recompute_up_to=recompute_up_to,
            integrals=read_fcidump(MISSED.folder / "fcidump.txt").integrals,
        )  # fmt: skip
    assert caught.value.names == ("variational_bound",)
    assert caught.value.not_converged
    assert not caught.value.retryable


def test_roots_with_a_penalty_on_their_spin_have_no_bound() -> None:
    missed = read_dice_outputs(MISSED.folder, norb=MISSED.norb, nelec=MISSED.nelec, is_eigenstate=False)
    assert [root.energy for root in missed.roots] == MISSED.meta["energies"]


def test_dice_that_gives_up_on_its_roots_says_so() -> None:
    given = case("_failures/davidson_roots")
    with pytest.raises(DiceNotConverged, match="did not converge for root"):
        read_dice_outputs(given.folder, norb=given.norb, nelec=given.nelec)


# -- which root is the answer


def test_the_lowest_root_with_the_wanted_spin_is_the_answer(hpc: HPCJobRunner, tmp_path: Path) -> None:
    dice = solver(hpc, tmp_path, replay("_roots/o2_sto3g"), nroots=3)
    (triplet,), (singlet,) = (
        dice.runs([problem("_roots/o2_sto3g")[0]], *problem("_roots/o2_sto3g")[1:], spin_sq=wanted)
        for wanted in (2.0, 0.0)
    )
    assert (triplet.result.root, triplet.result.energy) == (0, O2.meta["energies"][0])
    assert (singlet.result.root, singlet.result.energy) == (1, O2.meta["energies"][1])
    assert singlet.result.spin_square == pytest.approx(0, abs=1e-9)
    assert [root.root for root in singlet.result.roots] == [0, 1, 2]
    assert singlet.result.energies == triplet.result.energies


def test_qiskit_gets_the_root_that_is_the_answer(hpc: HPCJobRunner, tmp_path: Path) -> None:
    fermion = pytest.importorskip("qiskit_addon_sqd.fermion")
    dice = solver(hpc, tmp_path, replay("_roots/o2_sto3g"), nroots=3, spin_sq=0.0)
    strings, *rest = problem("_roots/o2_sto3g")
    (found,) = dice.as_sci_solver()([strings], *rest)
    assert isinstance(found, fermion.SCIResult)
    assert found.energy == O2.meta["energies"][1]
    assert found.sci_state is not None
    assert found.sci_state.spin_square() == pytest.approx(0, abs=1e-9)


def test_where_no_root_has_the_wanted_spin_all_are_told(hpc: HPCJobRunner, tmp_path: Path) -> None:
    dice = solver(hpc, tmp_path, replay("_roots/o2_sto3g"), nroots=3, spin_sq=6.0)
    with pytest.warns(UserWarning, match=r"none of the 3 lowest states has an <S²> of 6, they have 2.0000, 0.0000, 0.0000"):
        result = dice.solve(*problem("_roots/o2_sto3g"))
    assert result.root == 0


def test_with_one_root_the_way_to_more_is_told(hpc: HPCJobRunner, tmp_path: Path) -> None:
    dice = solver(hpc, tmp_path, EMBEDDED, spin_sq=0.0)
    with pytest.warns(UserWarning, match="with nroots > 1 it is looked for among more states"):
        dice.solve(*problem("_roots/o2_sto3g"))


# -- the solvers


@pytest.fixture(autouse=True)
def unexpected_warnings_are_errors() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*tried again|.*takes over|.*<S²>")
        yield


def test_the_embedded_solver_finds_the_roots_of_a_dense_diagonalization(hpc: HPCJobRunner, tmp_path: Path) -> None:
    from pyscf import ao2mo

    (alpha, beta), one, two, norb, nelec = problem("lih_sto3g")
    exact = np.linalg.eigvalsh(matrix(alpha.tolist(), beta.tolist(), one, ao2mo.restore(1, two, norb), norb).toarray())[:4]
    through_dice = solver(hpc, tmp_path, EMBEDDED, nroots=4)
    for own in (EmbeddedSolver(hpc=hpc, nroots=4), through_dice):
        result = own.solve((alpha, beta), one, two, norb, nelec)
        assert result.energies == pytest.approx(exact, abs=1e-9)
        assert [root.energy for root in result.roots] == list(result.energies)
        assert [round(root.spin_square) for root in result.roots] == [0, 2, 0, 2]


def test_the_embedded_solver_has_as_many_roots_of_the_wanted_spin(hpc: HPCJobRunner) -> None:
    result = EmbeddedSolver(hpc=hpc, nroots=2, spin_sq=0.0).solve(*problem("_roots/o2_sto3g"))
    assert [root.spin_square for root in result.roots] == pytest.approx([0, 0], abs=1e-6)
    assert result.energies == pytest.approx(O2.meta["energies"][1:], abs=1e-8)


def test_sets_that_grow_have_several_roots(hpc: HPCJobRunner) -> None:
    strings, *rest = problem("lih_sto3g")
    all_of_them = EmbeddedSolver(hpc=hpc, nroots=3).solve(strings, *rest)
    grown = EmbeddedSolver(hpc=hpc, nroots=3, select_cutoff=1e-6).solve(([0b11], [0b11]), *rest)
    assert grown.energies == pytest.approx(all_of_them.energies, abs=1e-4)


@pytest.mark.parametrize("name", ["_roots/n2_missed", "_failures/davidson_roots"])
def test_roots_that_dice_misses_are_the_embedded_solvers(hpc: HPCJobRunner, tmp_path: Path, name: str) -> None:
    said = replay(name) if "missed" in name else f"cat {FOLDER / name}/dice.out; exit 1"
    dice = solver(hpc, tmp_path, f"{counted(tmp_path)}; {said}", nroots=2)
    with pytest.warns(UserWarning, match="the embedded solver takes over"):
        (run,) = dice.runs([problem(name)[0]], *problem(name)[1:])
    assert run.result.energies == pytest.approx(case(name).meta["exact_energies"], abs=1e-9)
    assert (run.solver, starts(tmp_path), len(run.result.roots)) == ("embedded", 1, 2)


def test_a_subspace_has_no_more_roots_than_determinants(hpc: HPCJobRunner) -> None:
    (alpha, beta), *rest = problem("lih_sto3g")
    result = EmbeddedSolver(hpc=hpc, nroots=4).solve((alpha[:1], [beta[0], beta[1], beta[1]]), *rest)
    assert (result.dimension, len(result.roots)) == (2, 2)


def test_how_many_roots_is_part_of_the_identity_and_of_the_input(hpc: HPCJobRunner) -> None:
    two = DiceSolver(hpc=hpc, nroots=2)
    assert two.identity() == EmbeddedSolver(hpc=hpc, nroots=2).identity() != DiceSolver(hpc=hpc).identity()
    strings, *rest = problem("lih_sto3g")
    (run,) = two.runs([strings], *rest)
    assert read_input(Path(run.jobs[0].handle.work_dir, "input.dat").read_text()).nroots == 2
