"""Dice's output files, each whole or not there, and its table of determinants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.dice.dets_file import write_determinants
from dagster_hpc.dice.embedded.words import say
from dagster_hpc.dice.files import rdm_text, spin_rdm
from dagster_hpc.dice.layout import ENERGY, determinants_of, spin_rdm_of

if TYPE_CHECKING:
    from dagster_hpc.diagonalization.solution import Solution
    from dagster_hpc.dice.embedded.asked import Schedule


def write_outputs(directory: Path, schedule: Schedule, solution: Solution) -> None:
    """Dice's files in Dice's order, each whole or not there."""
    prefix = directory / schedule.prefix
    if schedule.one_rdm:
        for root in range(len(solution.energies)):
            alpha, beta = solution.state(root).one_rdm()
            _put(prefix / f"spatial1RDM.{root}.{root}.txt", rdm_text(alpha + beta, 1e-15, "16.12g").encode())
            if schedule.spin_one_rdm:
                _put(prefix / spin_rdm_of(root), rdm_text(spin_rdm(alpha, beta)).encode())
    _put(prefix / ENERGY, solution.energies.astype("<f8").tobytes())
    if schedule.write_determinants > 0:
        for root in range(len(solution.energies)):
            state = solution.state(root)
            best = np.argsort(-np.abs(state.coefficients), kind="stable")[: schedule.write_determinants]
            strings = state.alpha[state.index_a[best]], state.beta[state.index_b[best]]
            with _whole(directory / determinants_of(root)) as path:
                write_determinants(path, *strings, state.coefficients[best], state.norb)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    unfinished = path.with_name(path.name + ".unfinished")
    yield unfinished
    unfinished.replace(path)


def _put(path: Path, data: bytes) -> None:
    with _whole(path) as unfinished:
        unfinished.write_bytes(data)


def show_determinants(schedule: Schedule, solution: Solution) -> None:
    """The table of the most important determinants."""
    say("\nPrinting most important determinants")
    say(f"{'Det':>4} {'weight':>10}  Determinant string")
    space = solution.space
    for root, vector in enumerate(solution.vectors.T):
        say(f"State : {root:3d}")
        best = np.argsort(-np.abs(vector), kind="stable")[: max(6, schedule.print_determinants)]
        for place, at in enumerate(best):
            kinds = space.alpha[space.index_a[at]] + 2 * space.beta[space.index_b[at]]
            row = "".join("0ab2"[kind] for kind in kinds)
            groups = ("".join(f"{letter} " for letter in row[k : k + 5]) for k in range(0, len(row), 5))
            say(f"{place:4d} {vector[at]:18.10f}  " + "  ".join(groups))
