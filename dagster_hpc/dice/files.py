"""Dice's files: written as Dice reads them, read as Dice writes them and believed only after validation.

write_dice_inputs(directory, strings_a, strings_b, norb=16, nelec=(5, 5), one_body=h, two_body=eri)
result = read_dice_outputs(directory, norb=16, nelec=(5, 5), stdout=directory / "stdout.log")
result.energy, result.orbital_occupancies, result.sci_result()
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.dice.dets_file import write_determinants
from dagster_hpc.dice.inputs import DiceOptions, render_input
from dagster_hpc.dice.layout import ALPHA, BETA, DETERMINANTS, ENERGY, INPUT, SPIN_RDM
from dagster_hpc.dice.reading import Asking, read_run
from dagster_hpc.dice.result import DiceResult
from dagster_hpc.electrons.determinants import encode, require_electrons, sorted_unique, width_of, words_of
from dagster_hpc.electrons.fcidump import fcidump_bytes, integrals_of
from dagster_hpc.electrons.state import SparseState
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.subspace.payload import FCIDUMP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from dagster_hpc.electrons.determinants import Words
    from dagster_hpc.electrons.integrals import Integrals

__all__ = [
    "ALPHA", "BETA", "DETERMINANTS", "ENERGY", "FCIDUMP", "INPUT", "SPIN_RDM",
    "DiceOptions", "DiceResult", "dice_input_files", "read_dice_outputs", "write_dice_inputs", "write_dice_outputs",
]  # fmt: skip

RDM_CUTOFF = 1e-6  # Dice leaves out smaller entries


def dice_input_files(
    strings_a: Iterable[int] | NDArray[Any],
    strings_b: Iterable[int] | NDArray[Any],
    *,
    norb: int,
    nelec: tuple[int, int],
    one_body: NDArray[np.float64] | None = None,
    two_body: NDArray[np.float64] | None = None,
    core_energy: float = 0.0,
    integrals: Integrals | None = None,
    fcidump: bytes | None = None,
    options: DiceOptions | None = None,
    template: str | None = None,
) -> dict[str, bytes]:
    """File name → contents, to be placed in a job's directory.

    The strings are integers (bit p is orbital p) of any kind; they are checked, and those given twice are written once. The
    Hamiltonian comes as integrals or as the bytes of an FCIDUMP file; with none of these, fcidump.txt is left to the caller.
    """
    _require_possible(norb, nelec)
    files = {
        ALPHA: encode(_checked(strings_a, norb, nelec[0], "alpha string")),
        BETA: encode(_checked(strings_b, norb, nelec[1], "beta string")),
        INPUT: render_input(options or DiceOptions(), norb, nelec, template=template).encode(),
    }
    if one_body is not None and two_body is not None:
        integrals = integrals_of(one_body, two_body, core_energy)
    if integrals is not None:
        if integrals.norb != norb:
            raise ConfigurationError(f"the integrals are of {integrals.norb} orbitals, norb is {norb}")
        fcidump = fcidump_bytes(integrals, nelec)
    return files if fcidump is None else {FCIDUMP: fcidump, **files}


def write_dice_inputs(
    directory: str | os.PathLike[str],
    strings_a: Iterable[int] | NDArray[Any],
    strings_b: Iterable[int] | NDArray[Any],
    *,
    norb: int,
    nelec: tuple[int, int],
    one_body: NDArray[np.float64] | None = None,
    two_body: NDArray[np.float64] | None = None,
    core_energy: float = 0.0,
    integrals: Integrals | None = None,
    fcidump: bytes | None = None,
    options: DiceOptions | None = None,
    template: str | None = None,
) -> dict[str, Path]:
    """The same as files in a directory, which is made when it is not there. File name → path.

    Example:
        files = write_dice_inputs("run", strings, strings, norb=10, nelec=(1, 1), one_body=one_body, two_body=two_body)
        assert sorted(files) == ["AlphaDets.bin", "BetaDets.bin", "fcidump.txt", "input.dat"]
    """
    contents = dice_input_files(
        strings_a, strings_b, norb=norb, nelec=nelec, one_body=one_body, two_body=two_body, core_energy=core_energy,
        integrals=integrals, fcidump=fcidump, options=options, template=template,
    )  # fmt: skip
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in contents}


def _require_possible(norb: int, nelec: tuple[int, int]) -> None:
    width_of(norb)
    faults = [
        f"{count} {spin} electrons do not fit into {norb} orbitals"
        for spin, count in zip(("alpha", "beta"), nelec, strict=True)
        if not 0 <= count <= norb
    ]
    if not faults and sum(nelec) == 0:
        faults.append("there are no electrons")
    if faults:
        raise ConfigurationError(faults)


def _checked(strings: Iterable[int] | NDArray[Any], norb: int, electrons: int, label: str) -> Words:
    words = words_of(strings, norb, label)
    if not len(words):
        raise ConfigurationError(f"there is no {label}: Dice crashes on an empty list")
    require_electrons(words, electrons, label)
    return sorted_unique(words)


def read_dice_outputs(
    work_dir: str | os.PathLike[str],
    *,
    norb: int,
    nelec: tuple[int, int],
    stdout: str | bytes | os.PathLike[str] | None = None,
    integrals: Integrals | None = None,
    parent_energy: float | None = None,
    recompute_up_to: int = 10_000,
    is_eigenstate: bool = True,
) -> DiceResult:
    """The answer of a finished run, or an error: DiceResultInvalid names the checks that failed, DiceFailed quotes Dice.

    Where input.dat asked for several states it is the lowest one, and `roots` has all of them.

    `stdout`: Dice's output, as a file or as text; looked for in dice.out and stdout.log when not given. `integrals` saves
    reading fcidump.txt again. `parent_energy`: that of a subspace of this one, which bounds the energy from above.
    The energy is recomputed for up to `recompute_up_to` determinants. `is_eigenstate=False`: the state was found with a
    penalty on its spin, and is not asked to be the lowest eigenstate of H.

    Example:
        (run,) = dice.runs([(strings, strings)], one_body, two_body, norb=10, nelec=(1, 1))
        result = read_dice_outputs(run.jobs[-1].handle.work_dir, norb=10, nelec=(1, 1))
        assert result.energy == run.result.energy
    """
    _require_possible(norb, nelec)
    asking = Asking(norb, (int(nelec[0]), int(nelec[1])), integrals, parent_energy, recompute_up_to, is_eigenstate)
    return read_run(Path(work_dir), asking, stdout)


def write_dice_outputs(
    directory: str | os.PathLike[str],
    energy: float,
    strings_a: Iterable[int] | NDArray[Any],
    strings_b: Iterable[int] | NDArray[Any],
    coefficients: NDArray[np.float64],
    norb: int,
    nelec: tuple[int, int],
    rdm: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> None:
    """What Dice leaves behind, byte for byte in its format: one alpha and one beta string and a coefficient per determinant.

    `rdm`: the one-particle density matrices of alpha and beta electrons, norb by norb; computed when not given.
    """
    folder = Path(directory)
    alpha, beta = words_of(strings_a, norb, "alpha string"), words_of(strings_b, norb, "beta string")
    values = np.ascontiguousarray(coefficients, np.float64)
    if not len(alpha) == len(beta) == len(values) or values.ndim != 1 or not len(values):
        raise ConfigurationError(
            f"{len(alpha)} alpha strings, {len(beta)} beta strings and coefficients of shape {values.shape}: "
            "give one of each per determinant, and at least one determinant"
        )
    require_electrons(alpha, nelec[0], "alpha string")
    require_electrons(beta, nelec[1], "beta string")
    densities = rdm if rdm is not None else SparseState.of(alpha, beta, values, norb).one_rdm()
    (folder / SPIN_RDM).write_text(rdm_text(spin_rdm(*densities)))
    (folder / ENERGY).write_bytes(np.array([energy], "<f8").tobytes())
    write_determinants(folder / DETERMINANTS, alpha, beta, values, norb)


def spin_rdm(alpha: NDArray[np.float64], beta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Both density matrices in one: rows and columns are 2·orbital + spin."""
    both = np.zeros((2 * len(alpha), 2 * len(alpha)))
    both[0::2, 0::2], both[1::2, 1::2] = alpha, beta
    return both


def rdm_text(matrix: NDArray[np.float64], smallest: float = RDM_CUTOFF, layout: str = "10.8g") -> str:
    """The size of a density matrix, then its entries; the defaults are those of spin1RDM.0.0.txt."""
    rows, columns = np.nonzero(np.abs(matrix) > smallest)
    entries = zip(rows.tolist(), columns.tolist(), matrix[rows, columns].tolist(), strict=True)
    return "".join(
        [f"{len(matrix)}\n", *(f"{row:3d}   {column:3d}   {value:{layout}}\n" for row, column, value in entries)]
    )
