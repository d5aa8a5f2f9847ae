"""What SBD's `diag` reads and writes, without SBD: the same options, files and lines, and LAPACK in place of its Davidson.

    python stand_in.py --fcidump F --adetfile S --carryoverfile C --carryover_threshold T --tolerance R ...

`SBD_RANKS` in the environment is the number of ranks, `SBD_RESIDUAL` the residual at which its Davidson "ends". With
`SBD_DIGITS` it rounds the integrals to so many digits, as SBD did with six before its version 1.3.0.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from dagster_hpc.electrons.fcidump import read_fcidump
from dagster_hpc.electrons.hamiltonian import hamiltonian_matrix
from dagster_hpc.electrons.integrals import Integrals
from dagster_hpc.electrons.space import DeterminantSpace


def die(words: str) -> None:
    print(f"terminate called after throwing an instance of 'std::invalid_argument'\n  what():  {words}", file=sys.stderr)
    sys.exit(134)


def main(arguments: list[str]) -> None:
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    sizes = [int(given[f"--{part}_comm_size"]) for part in ("task", "adet", "bdet")]
    if int(os.environ.get("SBD_RANKS", "1")) != np.prod(sizes):
        die("MPI Size of twister is not a square of a integer")
    if not Path(given["--adetfile"]).is_file():
        die("Failed to open alpha det file.")
    dump = read_fcidump(Path(given["--fcidump"]))
    lines = sorted(Path(given["--adetfile"]).read_text().split())  # SBD sorts them
    bits = np.array([[letter == "1" for letter in reversed(line)] for line in lines])
    space = DeterminantSpace.product(bits, bits)
    integrals = dump.integrals
    if digits := os.environ.get("SBD_DIGITS"):
        rounded = np.vectorize(lambda value: float(f"{value:.{digits}g}"))
        integrals = Integrals(
            float(f"{integrals.core_energy:.{digits}g}"), rounded(integrals.one_body), rounded(integrals.pair_integrals)
        )
    matrix = hamiltonian_matrix(space, integrals).toarray()
    energies, vectors = np.linalg.eigh(matrix)
    energy, state = energies[0] + integrals.core_energy, vectors[:, 0].reshape(len(lines), len(lines))
    weights = (state**2).sum(axis=1)
    density = weights @ bits + (state**2).sum(axis=0) @ bits
    order = np.argsort(-weights, kind="stable")
    kept = order[: np.searchsorted(np.cumsum(weights[order]), 1 - float(given["--carryover_threshold"])) + 1]

    residual = os.environ.get("SBD_RESIDUAL", "3.1e-07")
    print(" Elapsed time for helper construction 0.0001 (sec) ")
    print(f" Davidson iteration 0.0 (tol=0.25): {matrix[0, 0] + integrals.core_energy:.16g}")
    print(f" Davidson iteration 0.1 (tol={residual}): {energy:.16g} {energies[-1]:.16g}")
    print(f" Energy = {energy:.16g}")
    print(f" Sample-based diagonalization: Energy = {energy:.16g}")
    print(" Sample-based diagonalization: density = [" + ",".join(f"{one:.16g}" for one in density))
    print(" Sample-based diagonalization: carryover bitstrings =  " + " ".join(lines[k] for k in kept[:6]))
    Path(given["--carryoverfile"]).write_text("".join(f"{lines[k]}\n" for k in kept))


if __name__ == "__main__":
    main(sys.argv[1:])
