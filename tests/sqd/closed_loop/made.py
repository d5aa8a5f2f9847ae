"""A closed loop that is quick: N2 in six orbitals, and a circuit of six parameters that costs nothing to sample."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from dagster_hpc.sqd import Molecule
from dagster_hpc.sqd.closed_loop import ClosedLoopResult, Evolution, optimize_circuit
from dagster_hpc.sqd.molecule import MolecularIntegrals

N2 = Molecule(geometry="N 0 0 0; N 0 0 1.5", basis="6-31g", symmetry=True, active_space=(6, 6))
SEED = 24


def strings_of_weights(parameters: Any, shots: int, seed: int) -> Any:
    """Three electrons of each spin, in orbitals of large parameters rather than of small ones."""
    rng = np.random.default_rng(seed)
    halves = []
    for _ in range(2):
        half = np.zeros((shots, 6), bool)
        chosen = np.argsort(parameters + rng.gumbel(size=(shots, 6)), axis=1)[:, :3]
        np.put_along_axis(half, chosen, True, axis=1)
        halves.append(half)
    return np.hstack(halves)


@lru_cache
def integrals() -> MolecularIntegrals:
    return N2.integrals()


def loop(**changed: Any) -> ClosedLoopResult:
    """It starts from a circuit that makes every string equally likely."""
    asked: dict[str, Any] = {
        "seed": SEED, "generations": 4, "population": 5, "shots": 20, "samples_per_batch": 6, "sqd_iterations": 1,
        "max_dim": 4, "sampler": strings_of_weights, "start": np.zeros(6), "evolution": Evolution(spread=0.5, reach=4.0),
    }  # fmt: skip
    return optimize_circuit(changed.pop("molecule", integrals()), **{**asked, **changed})


def numbers_of(result: ClosedLoopResult) -> list[Any]:
    """Everything that the seed decides."""
    return [
        (one.energies.tolist(), one.population.tolist(), one.carryover[0].tolist(), [t.energies for t in one.trials])
        for one in result.generations
    ]
