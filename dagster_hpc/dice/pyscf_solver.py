"""A stand-in for Dice in Python: the same input files, the same output files, the same words.

    python -m dagster_hpc.dice.pyscf_solver [--spin-sq X] [--spin-shift Y] [input.dat]

is started in a directory that holds Dice's input files and leaves shci.e, spin1RDM.0.0.txt and dets.bin there. It serves
what selected CI of sampled determinants needs: the lowest states of a product of strings, and Dice's growing of that set
by the schedule. What else Dice can do (perturbation theory, restarts, spin-orbit coupling, ...) is refused by name.

Up to 128 orbitals and any number of alpha or beta electrons, none included. Products of strings that are too large for a
stored matrix are a compiled kernel's, on OMP_NUM_THREADS threads or else on all cores that the process may use; sets that
were grown are always stored, so memory is their limit.

With --spin-sq, the wanted <S²>, states of another spin are pushed up by --spin-shift Hartree (0.2) per unit of S² while the
lowest one is sought. The energy written is <H> without the penalty; a line "Spin: asked ..." says which <S²> came out, and
the residual that the state has without the penalty.

Exit codes are those of Dice under mpirun: 0 with `sampleN`; 1 without it although all is well ("Error here"); 1 for a
refused input, 134 and 139 where Dice aborts or crashes. Unlike Dice it counts a string that is given twice once, always ends
in the lowest state of its space or says that it could not, and under an MPI launcher lets rank 0 do all the work.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_hpc.diagonalization.davidson import EigenError
from dagster_hpc.diagonalization.spin import SpinWish
from dagster_hpc.dice.embedded.asked import ABORTED, REFUSED, Stop, read_input, read_strings
from dagster_hpc.dice.embedded.iterations import solve
from dagster_hpc.dice.embedded.outputs import show_determinants, write_outputs
from dagster_hpc.dice.embedded.words import RULE, say
from dagster_hpc.dice.layout import ALPHA, BETA
from dagster_hpc.electrons.determinants import MAX_ORBITALS, STRING_BYTES
from dagster_hpc.electrons.fcidump import read_fcidump
from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    from dagster_hpc.electrons.integrals import Integrals

_RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID")


def run(directory: Path, input_name: str = "input.dat", wish: SpinWish | None = None) -> int:
    """Solve what stands in `directory`; returns Dice's exit code."""
    try:
        return _run(directory, input_name, wish)
    except Stop as stop:
        say(str(stop))
        return stop.code
    except EigenError as error:
        say(f"Eigenvalue solver unsuccessful.\n{error}")
        return ABORTED
    except MemoryError as error:
        say(f"Not enough memory: {error}")
        return ABORTED


def _run(directory: Path, input_name: str, wish: SpinWish | None) -> int:
    try:
        schedule = read_input((directory / input_name).read_text())
    except OSError as error:
        raise Stop(f"cannot read {input_name}: {error.strerror}") from None
    integrals, electrons = _read_hamiltonian(directory, schedule.integral_file)
    if electrons != schedule.electrons:
        raise Stop(
            "The number of electrons given in the FCIDUMP should be equal to the nocc given in the shci input file."
        )
    if integrals.norb > MAX_ORBITALS:
        raise Stop(f"NORB={integrals.norb}: strings of {STRING_BYTES} bytes serve up to {MAX_ORBITALS} orbitals")
    alpha = read_strings(directory / ALPHA, "alpha", integrals.norb)
    beta = read_strings(directory / BETA, "beta", integrals.norb)
    filled = int(alpha[0].sum()), int(beta[0].sum())
    if sum(filled) != electrons:
        raise Stop(
            f"the strings hold {filled[0]} + {filled[1]} electrons, NELEC={electrons} (Dice aborts here)", ABORTED
        )

    say(f"\n\n{RULE}\nVARIATIONAL STEP  \n{RULE}")
    say(f"{len(alpha)}\n{len(beta)}")
    solution = solve(schedule, integrals, alpha, beta, wish)
    write_outputs(directory, schedule, solution)
    show_determinants(schedule, solution)
    if schedule.one_rdm:
        say(f"\n\n{RULE}\nCALCULATING RDMs\n{RULE}")
    if schedule.two_rdm:
        say("The embedded solver writes no two-particle density matrix.")
    if not schedule.ends_well:
        say("Error here")  # what Dice says, and returns, without sampleN: all files are there and right
        return REFUSED
    say(f"\n\n{RULE}\nReturning without error\n{RULE}\n\n")
    return 0


def _read_hamiltonian(directory: Path, name: str) -> tuple[Integrals, int]:
    if not (directory / name).is_file():
        raise Stop(f"Integral file {name} does not exist!")
    try:
        dump = read_fcidump(directory / name)
    except ConfigurationError as error:
        raise Stop(str(error)) from None
    return dump.integrals, dump.electrons


def main(arguments: Sequence[str]) -> int:
    rank = next((os.environ[name] for name in _RANK_VARIABLES if name in os.environ), "0")
    if rank not in ("", "0"):
        say(f"Rank {rank}: rank 0 does all the work.")
        return 0
    parser = argparse.ArgumentParser(
        prog="dagster_hpc.dice.pyscf_solver", description="Dice's files, solved in Python."
    )
    parser.add_argument("--spin-sq", type=float, help="the wanted <S²>")
    parser.add_argument("--spin-shift", type=float, default=SpinWish.shift, help="Hartree per unit of S² away from it")
    parser.add_argument("input", nargs="?", default="input.dat")
    asked = parser.parse_args(arguments)
    wish = None if asked.spin_sq is None else SpinWish(asked.spin_sq, asked.spin_shift)
    return run(Path.cwd(), asked.input, wish)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
