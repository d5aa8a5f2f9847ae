"""The embedded solver beside qiskit-addon-sqd's `solve_sci` (PySCF), on the same subspaces and with the same threads.

`python -m benchmarks.embedded million` compares 999 x 999 strings too, which takes solve_sci minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations

import numpy as np
from pyscf import ao2mo, gto, lib, mcscf, scf
from qiskit_addon_sqd.fermion import solve_sci

from benchmarks.table import Row, show
from dagster_hpc.diagonalization import solve_product
from dagster_hpc.dice.files import DiceOptions, write_dice_inputs

BOUND = 1.2
BOUND_MIB = 2048
DICE_S = 64  # of a real Dice on one rank, for 999 x 999 strings of 26 orbitals, measured on two cores of an AMD EPYC
ELECTRONS = 5  # of each spin
JOB = """
from dagster_hpc.dice import pyscf_solver
assert pyscf_solver.main([]) == 0
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
Tensors = tuple[np.ndarray, np.ndarray]
SMALL = (("6-31g", 10, 10), ("6-31g", 31, 31), ("6-31g", 61, 61))
LARGE = (("6-31g", 315, 316), ("6-31g", 631, 631), ("cc-pvdz", 316, 316))
MILLION = ("cc-pvdz", 999, 999)


@lru_cache
def nitrogen(basis: str) -> Tensors:
    """N2 at 1.1 A with its core frozen: 16 orbitals in 6-31G, 26 in cc-pVDZ."""
    mol = gto.M(atom="N 0 0 0; N 0 0 1.1", basis=basis, verbose=0)
    field = scf.RHF(mol).run()
    norb = field.mo_coeff.shape[1] - 2
    active = mcscf.CASCI(field, norb, 2 * ELECTRONS)
    return active.get_h1eff()[0], ao2mo.restore(1, active.get_h2eff(), norb)


def lowest_excitations(norb: int, count: int) -> list[int]:
    """The reference, then the strings with the fewest and the lowest electrons moved."""
    filled = set(range(ELECTRONS))
    found: list[tuple[int, int, int]] = []
    for level in range(4):
        for holes in combinations(range(ELECTRONS), level):
            for particles in combinations(range(ELECTRONS, norb), level):
                string = sum(1 << p for p in filled - set(holes) | set(particles))
                found.append((level, sum(particles) - sum(holes), string))
    return sorted(string for _, _, string in sorted(found)[:count])


def at_random(norb: int, count: int, seed: int) -> list[int]:
    """The reference, and as many others as it takes, any."""
    rng = np.random.default_rng(seed)
    strings = {(1 << ELECTRONS) - 1}
    while len(strings) < count:
        strings.add(sum(1 << int(p) for p in rng.choice(norb, ELECTRONS, replace=False)))
    return sorted(strings)


def seconds(call: Callable[[], float]) -> tuple[float, float]:
    begun = time.monotonic()
    energy = call()
    return time.monotonic() - begun, energy


def job(tensors: Tensors, strings: tuple[list[int], list[int]]) -> tuple[float, int]:
    """Seconds and peak memory in MiB of the program as a process of its own, from its files to its files."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        norb, nelec = len(tensors[0]), (ELECTRONS, ELECTRONS)
        options = DiceOptions(select_cutoff=None)
        write_dice_inputs(
            folder, *strings, one_body=tensors[0], two_body=tensors[1], norb=norb, nelec=nelec, options=options
        )
        begun = time.monotonic()
        said = subprocess.run(
            [sys.executable, "-c", JOB], cwd=folder, capture_output=True, text=True, check=True
        ).stdout
        took = time.monotonic() - begun
        return took, int(said.splitlines()[-1]) // 1024


def measure(basis: str, alpha: int, beta: int, kind: str, *, against: bool = True) -> list[Row]:
    tensors = nitrogen(basis)
    norb, nelec = len(tensors[0]), (ELECTRONS, ELECTRONS)
    if kind == "dense":
        strings = lowest_excitations(norb, alpha), lowest_excitations(norb, beta)
    else:
        strings = at_random(norb, alpha, 1), at_random(norb, beta, 2)
    arrays = np.array(strings[0]), np.array(strings[1])

    def embedded() -> float:
        return float(solve_product(*strings, *tensors, norb, nelec).energies[0])

    def theirs() -> float:
        return float(solve_sci(arrays, *tensors, norb, nelec).energy)

    ours: list[float] = []
    library: list[float] = []
    for _ in range(5 if alpha * beta < 10_000 else 2):  # in turn: other work on this machine meets both
        took, energy = seconds(embedded)
        ours.append(took)
        if against and sum(library) < 30:
            took, other = seconds(theirs)
            library.append(took)
            assert energy < other + 1e-6, f"{energy} is above solve_sci's {other}"
    whole, memory = job(tensors, strings)
    what = f"norb {norb}, {alpha} x {beta} = {alpha * beta} {kind}"
    rows = [Row(f"{what}: as a job, memory", f"{whole:.2f} s, {memory} MiB", f"{BOUND_MIB} MiB", memory / BOUND_MIB, 1)]
    if against:
        best = min(library)
        rows.insert(0, Row(what, f"{min(ours):.3f} s", f"solve_sci {best:.3f} s", min(ours) / best, BOUND))
    else:
        rows.insert(0, Row(what, f"{min(ours):.2f} s", f"Dice, one rank {DICE_S} s", min(ours) / DICE_S, 1.5))
    return rows


def main(million: bool = False) -> None:
    solve_product([1, 2], [1, 2], *(np.zeros((2,) * k) for k in (2, 4)), 2, (1, 1))  # imports are not measured
    rows = [row for case in SMALL + LARGE for kind in ("dense", "random") for row in measure(*case, kind)]
    rows += measure(*MILLION, "dense", against=million)
    show(f"Embedded solver and solve_sci, {lib.num_threads()} threads, least of several runs in turn", rows)


if __name__ == "__main__":
    main(million="million" in sys.argv[1:])
