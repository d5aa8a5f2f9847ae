"""The embedded solver in Dice's place: the same files, words and exit codes, and the right energy."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")

from dagster_hpc.dice import pyscf_solver
from dagster_hpc.dice.embedded.asked import read_input
from dagster_hpc.electrons.fcidump import fcidump_bytes, read_fcidump
from dagster_hpc.electrons.integrals import Integrals

GOLDEN = Path(__file__).parents[1] / "golden" / "dice"
INPUTS = ("input.dat", "fcidump.txt", "AlphaDets.bin", "BetaDets.bin")
GOOD = sorted(path.parent.name for path in GOLDEN.glob("*/meta.json"))
SAMPLE_INPUT = """nroots 1
orbitals fcidump.txt
schedule
0 {cutoff}
end
davidsonTol 1e-05
dE 1e-10
maxiter {maxiter}
noio
writeBestDeterminants 100000
nPTiter 0
DoSpinOneRDM
DoOneRDM
{more}
nocc {nocc}
{occupied}
end
"""


def copied(case: str, to: Path) -> dict[str, Any]:
    for name in INPUTS:
        if (GOLDEN / case / name).exists():
            shutil.copyfile(GOLDEN / case / name, to / name)
    meta: dict[str, Any] = json.loads((GOLDEN / case / "meta.json").read_text())
    return meta


def write_input(
    folder: Path, nocc: int, *, cutoff: float = 2147483647, maxiter: int = 1, more: str = "sampleN 1"
) -> None:
    occupied = " ".join(map(str, range(nocc)))
    text = SAMPLE_INPUT.format(cutoff=cutoff, maxiter=maxiter, more=more, nocc=nocc, occupied=occupied)
    (folder / "input.dat").write_text(text)


def write_strings(path: Path, strings: list[int]) -> None:
    path.write_bytes(b"".join(string.to_bytes(16, "big") for string in strings))


def energy(folder: Path) -> float:
    return float(np.fromfile(folder / "shci.e")[0])


def determinants(folder: Path) -> dict[str, float]:
    data = (folder / "dets.bin").read_bytes()
    count, norb = np.frombuffer(data[:8], "<i4")
    records = np.frombuffer(data[8:], [("c", "<f8"), ("d", f"S{norb}")])
    assert len(records) == count
    return {record["d"].decode(): float(record["c"]) for record in records}


def spin_rdm(path: Path) -> np.ndarray:
    size, *lines = path.read_text().splitlines()
    matrix = np.zeros((int(size), int(size)))
    for line in lines:
        i, j, value = line.split()
        matrix[int(i), int(j)] = float(value)
    return matrix


@pytest.mark.parametrize("case", GOOD)
def test_gives_dices_energy_and_exit_code_from_dices_files(case: str, tmp_path: Path) -> None:
    meta = copied(case, tmp_path)

    code = pyscf_solver.run(tmp_path)

    assert code == meta["exit_code"]
    assert energy(tmp_path) == pytest.approx(meta["energy"], abs=1e-8)
    assert energy(tmp_path) <= meta["energy"] + 1e-12  # variational: Dice stops a little above


@pytest.mark.parametrize("case", GOOD)
def test_writes_dices_determinants_and_densities(case: str, tmp_path: Path) -> None:
    copied(case, tmp_path)

    pyscf_solver.run(tmp_path)

    ours, theirs = determinants(tmp_path), determinants(GOLDEN / case)
    assert ours.keys() == theirs.keys()
    overlap = sum(ours[name] * theirs[name] for name in ours)  # the global sign is arbitrary
    assert abs(overlap) == pytest.approx(1, abs=1e-8)
    dice = spin_rdm(GOLDEN / case / "spin1RDM.0.0.txt")
    assert np.abs(spin_rdm(tmp_path / "spin1RDM.0.0.txt") - dice).max() < 2e-5  # of davidsonTol 1e-5 in theirs


def test_the_files_have_dices_layout_to_the_byte(tmp_path: Path) -> None:
    copied("h2_sto3g", tmp_path)

    pyscf_solver.run(tmp_path)

    assert (tmp_path / "spin1RDM.0.0.txt").read_bytes() == (GOLDEN / "h2_sto3g" / "spin1RDM.0.0.txt").read_bytes()
    assert (tmp_path / "shci.e").stat().st_size == 8
    assert (tmp_path / "dets.bin").stat().st_size == 8 + 4 * (8 + 2)
    assert [path.name for path in tmp_path.glob("*.unfinished")] == []


@pytest.mark.parametrize("case", ["davidson_cap_n2_12x12", "duplicate_strings_n2", "shm_collision_lih"])
def test_is_right_where_dice_was_silently_wrong(case: str, tmp_path: Path) -> None:
    meta = copied(f"_corrupt/{case}", tmp_path)

    assert pyscf_solver.run(tmp_path) == 0

    assert energy(tmp_path) == pytest.approx(meta["correct_energy"], abs=1e-10)


def test_solves_the_sparse_space_on_which_dice_aborts(tmp_path: Path) -> None:
    meta = copied("_failures/davidson_nan_abort", tmp_path)

    assert pyscf_solver.run(tmp_path) == 0

    assert energy(tmp_path) == pytest.approx(meta["pyscf_subspace_ground_energy"], abs=1e-10)


@pytest.mark.parametrize("case", ["nelec_mismatch", "no_fcidump", "unknown_keyword", "wrong_popcount"])
def test_refuses_in_dices_words(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meta = copied(f"_failures/{case}", tmp_path)

    code = pyscf_solver.run(tmp_path)

    assert code == meta["exit_code"]
    assert meta["message"] in capsys.readouterr().out
    assert not (tmp_path / "shci.e").exists()


def test_missing_strings_end_like_dices_crash_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied("_failures/no_alphadets", tmp_path)

    assert pyscf_solver.run(tmp_path) == 139

    assert "AlphaDets.bin is missing" in capsys.readouterr().out


def lih(folder: Path, alpha: list[int], beta: list[int], **more: Any) -> None:
    shutil.copyfile(GOLDEN / "lih_sto3g" / "fcidump.txt", folder / "fcidump.txt")
    write_strings(folder / "AlphaDets.bin", alpha)
    write_strings(folder / "BetaDets.bin", beta)
    write_input(folder, 4, **more)


@pytest.mark.parametrize(
    ("alpha", "code", "words"),
    [
        ([0b11, 1 << 6 | 1], 134, "outside of the 6 orbitals"),
        ([0b111], 134, "3 + 2 electrons, NELEC=4"),
    ],
)
def test_strings_that_make_dice_abort(
    alpha: list[int], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lih(tmp_path, alpha, [0b11])

    assert pyscf_solver.run(tmp_path) == code

    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("deterministic", 1, "deterministic is not served"),
        ("sampleN 200\nnPTiter 5", 1, "perturbation theory is not served"),
        ("fullrestart", 1, "fullrestart is not served"),
        ("sampleN", 1, "option sampleN has no value"),
        ("dE small", 1, "small is not a number"),
    ],
)
def test_refuses_by_name_what_it_does_not_serve(
    line: str, code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lih(tmp_path, [0b11], [0b11], more=line)

    assert pyscf_solver.run(tmp_path) == code

    assert words in capsys.readouterr().out


def test_no_iteration_is_an_abort(tmp_path: Path) -> None:
    lih(tmp_path, [0b11], [0b11], maxiter=0)

    assert pyscf_solver.run(tmp_path) == 134


def test_the_table_reads_like_dices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied("h2o_sto3g_rc0", tmp_path)

    pyscf_solver.run(tmp_path)

    ours = capsys.readouterr().out.splitlines()
    theirs = (GOLDEN / "h2o_sto3g_rc0" / "dice.out").read_text().splitlines()
    header = next(line for line in theirs if line.startswith("Iter Root"))
    assert header in ours
    row, dice_row = (lines[lines.index(header) + 1] for lines in (ours, theirs))
    assert len(row) == len(dice_row)
    assert row.split()[:4] == dice_row.split()[:4]
    assert ours[-5:-2] == ["*" * 62, "Returning without error", "*" * 62]


def test_grows_from_hartree_fock_to_the_set_that_dice_selects(tmp_path: Path) -> None:
    lih(tmp_path, [0b11], [0b11], cutoff=1e-3, maxiter=10)

    assert pyscf_solver.run(tmp_path) == 0

    found = determinants(tmp_path)
    assert len(found) == 34  # and the energy of a run of Dice itself
    assert energy(tmp_path) == pytest.approx(-8.874519200343, abs=1e-9)


def test_growing_until_nothing_is_left_out_reaches_the_full_space(tmp_path: Path) -> None:
    lih(tmp_path, [0b11], [0b11], cutoff=0, maxiter=20)

    pyscf_solver.run(tmp_path)

    assert energy(tmp_path) == pytest.approx(-8.874531649358502, abs=1e-10)


def test_several_roots(tmp_path: Path) -> None:
    strings = [3, 5, 6, 9, 10, 12, 17, 18, 20, 24, 33, 34, 36, 40, 48]
    lih(tmp_path, strings, strings)
    text = (tmp_path / "input.dat").read_text().replace("nroots 1", "nroots 3")
    (tmp_path / "input.dat").write_text(text)

    pyscf_solver.run(tmp_path)

    energies = np.fromfile(tmp_path / "shci.e")
    assert len(energies) == 3
    assert energies[0] == pytest.approx(-8.874531649358502, abs=1e-10)
    assert np.all(np.diff(energies) >= 0)
    assert (tmp_path / "dets_2.bin").exists()


def test_writes_as_many_determinants_as_asked_for(tmp_path: Path) -> None:
    copied("lih_sto3g", tmp_path)
    text = (tmp_path / "input.dat").read_text().replace("writeBestDeterminants 225", "writeBestDeterminants 7")
    (tmp_path / "input.dat").write_text(text)

    pyscf_solver.run(tmp_path)

    sizes = [abs(value) for value in determinants(tmp_path).values()]
    assert len(sizes) == 7
    assert sizes == sorted(sizes, reverse=True)


def heh(folder: Path, alpha: list[int], beta: list[int]) -> Integrals:
    rng = np.random.default_rng(5)
    one, pairs = rng.standard_normal((3, 3)), rng.standard_normal((6, 6))
    integrals = Integrals(0.25, one + one.T, pairs + pairs.T)
    nelec = (alpha[0].bit_count(), beta[0].bit_count())
    (folder / "fcidump.txt").write_bytes(fcidump_bytes(integrals, nelec))
    write_strings(folder / "AlphaDets.bin", alpha)
    write_strings(folder / "BetaDets.bin", beta)
    write_input(folder, sum(nelec))
    return integrals


@pytest.mark.parametrize(
    ("alpha", "beta"), [([3, 5, 6], [0]), ([0], [3, 5, 6]), ([1, 2, 4], [0]), ([3, 5, 6], [1, 2, 4]), ([7], [7])]
)
def test_electrons_of_one_spin_or_of_unequal_numbers(alpha: list[int], beta: list[int], tmp_path: Path) -> None:
    fci = pytest.importorskip("pyscf.fci")
    from pyscf import ao2mo

    integrals = heh(tmp_path, alpha, beta)

    pyscf_solver.run(tmp_path)

    nelec = (alpha[0].bit_count(), beta[0].bit_count())
    matrix = fci.direct_spin1.pspace(
        integrals.one_body, ao2mo.restore(1, integrals.pair_integrals, 3), 3, nelec, np=100
    )[1]
    assert energy(tmp_path) == pytest.approx(np.linalg.eigvalsh(matrix)[0] + 0.25, abs=1e-10)


@pytest.mark.parametrize("shift", [0, 24, 60, 88])
def test_orbitals_beyond_63_give_the_energy_of_the_same_orbitals_below(shift: int, tmp_path: Path) -> None:
    source = GOLDEN / "ppp_norb40_3a2b"
    copied("ppp_norb40_3a2b", tmp_path)
    dump = read_fcidump(source / "fcidump.txt")
    norb = 40 + shift
    moved = np.arange(40) + shift
    one_body = np.zeros((norb, norb))
    one_body[np.ix_(moved, moved)] = dump.integrals.one_body
    pairs = norb * (norb + 1) // 2
    rows, columns = np.tril_indices(40)
    place = (rows + shift) * (rows + shift + 1) // 2 + columns + shift
    two_body = np.zeros((pairs, pairs))
    two_body[np.ix_(place, place)] = dump.integrals.pair_integrals
    (tmp_path / "fcidump.txt").write_bytes(fcidump_bytes(Integrals(0.0, one_body, two_body), (3, 2)))
    for name in ("AlphaDets.bin", "BetaDets.bin"):
        data = (source / name).read_bytes()
        strings = [int.from_bytes(data[k : k + 16], "big") << shift for k in range(0, len(data), 16)]
        write_strings(tmp_path / name, strings)

    assert pyscf_solver.run(tmp_path) == 0

    assert energy(tmp_path) == pytest.approx(2.2772310195997556, abs=1e-9)


@pytest.mark.parametrize(
    ("atoms", "electrons"),
    [
        ("H 0 0 0; H 0 0 0.74", 2),
        ("Li 0 0 0; H 0 0 1.6", 4),
        ("O 0 0 0; H 0.757 0.587 0; H -0.757 0.587 0", 10),
        ("N 0 0 0; N 0 0 1.1", 14),
    ],
)
def test_full_spaces_give_pyscfs_fci(atoms: str, electrons: int, tmp_path: Path) -> None:
    pyscf = pytest.importorskip("pyscf")
    from pyscf import ao2mo, fci, gto, scf
    from pyscf.fci import cistring

    mol = gto.M(atom=atoms, basis="sto-3g", verbose=0)
    field = scf.RHF(mol).run()
    orbitals = field.mo_coeff
    one_body, two_body = orbitals.T @ field.get_hcore() @ orbitals, ao2mo.kernel(mol, orbitals)
    norb, each = orbitals.shape[1], electrons // 2
    (tmp_path / "fcidump.txt").write_bytes(fcidump_bytes(Integrals(mol.energy_nuc(), one_body, two_body), (each, each)))
    strings = [int(string) for string in cistring.make_strings(range(norb), each)]
    write_strings(tmp_path / "AlphaDets.bin", strings)
    write_strings(tmp_path / "BetaDets.bin", strings)
    write_input(tmp_path, electrons)

    assert pyscf_solver.run(tmp_path) == 0

    solver = fci.direct_spin1.FCI()
    solver.conv_tol = 1e-12
    reference = solver.kernel(one_body, two_body, norb, (each, each))[0] + mol.energy_nuc()
    assert energy(tmp_path) == pytest.approx(reference, abs=1e-9), pyscf.__version__


def test_runs_as_a_program_in_the_directory_of_its_files(tmp_path: Path) -> None:
    copied("h2o_sto3g_rc0", tmp_path)
    (tmp_path / "input.dat").rename(tmp_path / "other.dat")

    done = subprocess.run(
        [sys.executable, "-m", "dagster_hpc.dice.pyscf_solver", "other.dat"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert energy(tmp_path) == pytest.approx(-84.20090553673893, abs=1e-8)


def test_a_spin_is_asked_for_before_the_input_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyscf")
    from pyscf import ao2mo, gto, scf
    from pyscf.fci import cistring

    mol = gto.M(atom="O 0 0 0; O 0 0 1.21", basis="sto-3g", verbose=0)
    field = scf.RHF(mol).run()
    orbitals = field.mo_coeff
    one_body = orbitals.T @ field.get_hcore() @ orbitals
    integrals = Integrals(mol.energy_nuc(), one_body, ao2mo.kernel(mol, orbitals))
    (tmp_path / "fcidump.txt").write_bytes(fcidump_bytes(integrals, (8, 8)))
    strings = [int(string) for string in cistring.make_strings(range(10), 8)]
    write_strings(tmp_path / "AlphaDets.bin", strings)
    write_strings(tmp_path / "BetaDets.bin", strings)
    write_input(tmp_path, 16)
    energies = []

    for options in ([], ["--spin-sq", "0"], ["--spin-sq", "0", "--spin-shift", "0.7"]):
        done = subprocess.run(
            [sys.executable, "-m", "dagster_hpc.dice.pyscf_solver", *options, "input.dat"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        energies.append(energy(tmp_path))

    triplet, singlet, shifted = energies
    assert singlet > triplet + 0.01
    assert singlet == pytest.approx(shifted, abs=1e-9)  # the penalty is in neither energy
    assert "Spin: asked <S^2> 0 by a penalty of 0.7, found 0.000000; residual norm of H alone" in done.stdout


@pytest.mark.parametrize("variable", ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"])
def test_other_ranks_leave_the_files_to_rank_0(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied("h2_sto3g", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "1")

    assert pyscf_solver.main([]) == 0

    assert not (tmp_path / "shci.e").exists()


def test_needs_neither_dagster_nor_pyscf_for_small_spaces(tmp_path: Path) -> None:
    copied("h2_sto3g", tmp_path)
    code = (
        "import sys; from pathlib import Path; from dagster_hpc.dice import pyscf_solver; "
        "pyscf_solver.run(Path.cwd()); print({'dagster', 'pyscf', 'qiskit', 'jax'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "set()"


def test_reads_a_schedule_of_several_cutoffs() -> None:
    text = "Schedule\n0\t1e-2\n# coarse first\n2 1e-3\nEND\nMAXITER 4\nnocc 2, \n0,1\nend\n\n# done\nNROOTS, 2\n"

    schedule = read_input(text)

    assert schedule.cutoffs == (1e-2, 1e-2, 1e-3, 1e-3)
    assert (schedule.electrons, schedule.roots) == (2, 2)
