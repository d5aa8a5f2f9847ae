"""Smaller cutoffs, their corrections, and the energy they lead to: nearer to full CI than any of them."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from dagster_hpc import HPCJobRunner
from dagster_hpc.dagster_values import plain
from dagster_hpc.dice import DiceProblem, DiceSolver
from dagster_hpc.dice.growth import GrowthStudy, growth_study
from dagster_hpc.dice.growth_asset import build_dice_growth_asset
from dagster_hpc.engine.errors import ConfigurationError
from tests.dice.test_solver import local_runner

pytest.importorskip("pyscf")
hpc = pytest.fixture(local_runner, name="hpc")

CUTOFFS = (2e-2, 1e-2, 5e-3)


@lru_cache
def nitrogen() -> tuple[DiceProblem, float]:
    """N2 in eight orbitals, grown from the Hartree-Fock determinant; and full CI of it."""
    from pyscf import fci

    from dagster_hpc.sqd import Molecule

    molecule = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g", active_space=(6, 8))
    h, eri, core, norb, nelec = molecule.integrals()
    exact = fci.direct_spin1.kernel(h, eri, norb, nelec, conv_tol=1e-12)[0] + core
    return DiceProblem(([0b111], [0b111]), h, eri, norb, nelec, core_energy=core), float(exact)


def n2_growth() -> DiceProblem:
    """N2."""
    return nitrogen()[0]


def test_the_end_of_the_line_is_nearer_to_full_ci(hpc: HPCJobRunner) -> None:
    problem, exact = nitrogen()
    study = growth_study(DiceSolver(hpc=hpc), problem, cutoffs=CUTOFFS)
    assert [step.cutoff for step in study.steps] == list(CUTOFFS)
    sizes = [step.determinants for step in study.steps]
    assert sizes == sorted(sizes)
    for step in study.steps:
        assert step.energy > exact
        assert abs(step.corrected_energy - exact) < step.energy - exact
    best = study.steps[-1]
    assert abs(study.extrapolation.energy - exact) < best.energy - exact
    assert study.extrapolation.error > 0


def test_nothing_more_to_find_is_no_line(hpc: HPCJobRunner) -> None:
    h, eri = np.diag([-1.0, 1.0]), np.zeros((2, 2, 2, 2))
    problem = DiceProblem(([1], [1]), h, eri, 2, (1, 1))
    study: GrowthStudy = growth_study(DiceSolver(hpc=hpc), problem, cutoffs=(1e-2, 1e-3))
    assert study.extrapolation.energy == pytest.approx(-2.0)
    assert study.extrapolation.error == 0
    assert math.isnan(study.extrapolation.slope)


def test_all_faults_are_in_one_message(hpc: HPCJobRunner) -> None:
    with pytest.raises(ConfigurationError) as error:
        growth_study(DiceSolver(hpc=hpc), nitrogen()[0], cutoffs=(-1.0,))
    assert len(error.value.faults) == 2


def test_as_an_asset(hpc: HPCJobRunner, tmp_path: Path) -> None:
    asset = build_dice_growth_asset(n2_growth, cutoffs=CUTOFFS[:2])
    quiet: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    done = dg.materialize([asset], resources={"dice": DiceSolver(hpc=hpc)}, run_config=quiet)
    (event,) = done.asset_materializations_for_node("n2_growth")
    found = plain(event.metadata)
    assert len(found["growth"].records) == found["jobs"] == 2  # type: ignore[attr-defined]
    assert found["extrapolated_energy"] < found["energy"]  # type: ignore[operator]
    assert str(found["picture"]).startswith("![Energy of each cutoff")
