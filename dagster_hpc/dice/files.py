"""Dice's files: written as Dice reads them, read as Dice writes them and believed only after validation.

    write_dice_inputs(directory, hamiltonian, strings_a, strings_b, options=DiceOptions(…))
    result = read_dice_outputs(directory, norb=16, nelec=(5, 5), stdout=directory / "stdout.log")
    result.energy, result.orbital_occupancies, result.sci_result()
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.dice.determinants import require_electrons, words_of
from dagster_hpc.dice.dets_file import write_determinants
from dagster_hpc.dice.state import SparseState
from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

FCIDUMP, INPUT, ALPHA, BETA = "fcidump.txt", "input.dat", "AlphaDets.bin", "BetaDets.bin"
ENERGY, DETERMINANTS, SPIN_RDM = "shci.e", "dets.bin", "spin1RDM.0.0.txt"
RDM_CUTOFF = 1e-6  # Dice leaves out smaller entries


def write_dice_outputs(
    directory: str | Path,
    energy: float,
    strings_a: Iterable[int] | NDArray[Any],
    strings_b: Iterable[int] | NDArray[Any],
    coefficients: NDArray[np.float64],
    norb: int,
    nelec: tuple[int, int],
    rdm: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> None:
    """What Dice leaves behind, byte for byte in its format: one alpha and one beta string and a coefficient per determinant.

    `rdm`: the one-particle density matrices of alpha and beta electrons, norb × norb; computed when not given.
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
    (folder / SPIN_RDM).write_text(_rdm_text(*densities))
    (folder / ENERGY).write_bytes(np.array([energy], "<f8").tobytes())
    write_determinants(folder / DETERMINANTS, alpha, beta, values, norb)


def _rdm_text(alpha: NDArray[np.float64], beta: NDArray[np.float64]) -> str:
    """spin1RDM.0.0.txt: rows and columns are 2·orbital + spin."""
    norb = len(alpha)
    both = np.zeros((2 * norb, 2 * norb))
    both[0::2, 0::2], both[1::2, 1::2] = alpha, beta
    rows, columns = np.nonzero(np.abs(both) > RDM_CUTOFF)
    entries = zip(rows.tolist(), columns.tolist(), both[rows, columns].tolist(), strict=True)
    return "".join([f"{2 * norb}\n", *("%3d   %3d   %10.8g\n" % entry for entry in entries)])
