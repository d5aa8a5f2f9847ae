"""The active space: which orbitals stay doubly occupied, and which are sampled and diagonalized."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.molecule.canonical import SAME_ENERGY, SAME_OCCUPANCY, Order, Places, canonical
from dagster_hpc.sqd.molecule.mean_field import MeanField, NotConverged, push_of, solved
from dagster_hpc.sqd.molecule.orbitals import Orbitals, ordered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.molecule.model import Molecule

    Array = NDArray[np.float64]

_LARGEST_CASSCF = 2_000_000  # determinants that are diagonalized in each of its steps


@dataclass(frozen=True)
class ActiveSpace:
    """Columns of coefficients in atomic orbitals."""

    mean: MeanField
    core: Array
    active: Array
    nelec: tuple[int, int]


# The results belong to the value of a molecule, not to an instance, of which a changed copy may be made.
@lru_cache(maxsize=4)
def orbitals_of(molecule: Molecule) -> tuple[MeanField, Orbitals]:
    mean = solved(molecule)
    return mean, ordered(molecule, mean)


@lru_cache(maxsize=4)
def active_space_of(molecule: Molecule) -> ActiveSpace:
    mean, orbitals = orbitals_of(molecule)
    if molecule.avas:
        return _finished(molecule, _by_atoms(molecule, mean, orbitals))
    frozen, active = _chosen(molecule, orbitals)
    _warn_of_broken_symmetry(orbitals, frozen, active)
    doubly = sum(one < orbitals.doubly for one in active)
    space = ActiveSpace(
        mean, orbitals.coefficients[:, frozen], orbitals.coefficients[:, active], (doubly + orbitals.singly, doubly)
    )
    return _finished(molecule, space)


def _finished(molecule: Molecule, space: ActiveSpace) -> ActiveSpace:
    return _optimised(molecule, space) if molecule.orbitals == "casscf" else space


def _chosen(molecule: Molecule, orbitals: Orbitals) -> tuple[list[int], list[int]]:
    """Numbers of the frozen and of the active orbitals."""
    if molecule.active_orbitals:
        active = sorted(molecule.active_orbitals)
        if active[-1] >= orbitals.count:
            raise ConfigurationError(
                f"active_orbitals names orbital {active[-1]}; {molecule.basis} has {orbitals.count}, numbered from 0"
            )
        return [one for one in range(orbitals.doubly) if one not in active], active
    frozen, count = molecule.frozen_core, orbitals.count - molecule.frozen_core
    if molecule.active_space:
        electrons, count = molecule.active_space
        frozen = (2 * orbitals.doubly + orbitals.singly - electrons) // 2
        if frozen + count > orbitals.count:
            raise ConfigurationError(
                f"{frozen} frozen and {count} active orbitals are more than the {orbitals.count} of {molecule.basis}"
            )
    return list(range(frozen)), list(range(frozen, frozen + count))


def _warn_of_broken_symmetry(orbitals: Orbitals, frozen: Sequence[int], active: Sequence[int]) -> None:
    for equal in orbitals.equals:
        inside = [one for one in equal if one in active]
        if inside and len(inside) < len(equal):
            outside = [one for one in equal if one not in active]
            where = "frozen" if outside[0] in frozen else "left out"
            warnings.warn(
                f"orbitals {_listed(equal)} are equal by the symmetry of the molecule, but {_listed(inside)} active and "
                f"{_listed(outside)} {where} (numbered from 0): the active space breaks the symmetry, and energies may jump "
                "along a curve. Take all of them or none",
                stacklevel=2,
            )


def _listed(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last


def _by_atoms(molecule: Molecule, mean: MeanField, orbitals: Orbitals) -> ActiveSpace:
    """AVAS: what of the occupied and of the empty orbitals overlaps with the named atomic ones."""
    from pyscf import scf
    from pyscf.mcscf import avas

    filled = np.zeros(orbitals.count)
    filled[: orbitals.doubly], filled[orbitals.doubly : orbitals.doubly + orbitals.singly] = 2, 1
    field: Any = scf.ROHF(mean.mol)
    field.mo_coeff, field.mo_occ, field.mo_energy = orbitals.coefficients, filled, orbitals.energies
    labels = list(molecule.avas or ())
    valence = mean.mol.copy()
    valence.basis, valence.symmetry = avas.MINAO, False
    valence.build(False, False)
    unknown = [label for label in labels if not len(valence.search_ao_label(label))]
    if unknown:
        raise ConfigurationError(
            f"avas {', '.join(map(repr, unknown))} names no valence orbital of an atom; they are named by element and "
            "shell, as in 'N 2p' or 'Fe 3d'"
        )
    # Option 3 keeps all singly occupied orbitals active.
    count, electrons, coefficients = avas.avas(field, labels, openshell_option=3, canonicalize=False, verbose=0)
    singly, doubly = orbitals.singly, (int(electrons) - orbitals.singly) // 2
    if doubly + singly == 0:
        raise ConfigurationError(f"avas {', '.join(map(repr, labels))}: no electrons are in these orbitals")
    start = orbitals.doubly - doubly
    places, by_energy = Places(mean.mol, mean.irreps), [Order(lambda: mean.fock, SAME_ENERGY)]
    edges = [start, start + doubly, start + doubly + singly, start + count]
    active = [canonical(coefficients[:, first:last], by_energy, places)[0] for first, last in pairwise(edges)]
    return ActiveSpace(mean, coefficients[:, :start], np.hstack(active), (doubly + singly, doubly))


def _optimised(molecule: Molecule, space: ActiveSpace) -> ActiveSpace:
    """CASSCF from there; the active orbitals are its natural ones."""
    from pyscf import mcscf

    norb = space.active.shape[1]
    determinants = comb(norb, space.nelec[0]) * comb(norb, space.nelec[1])
    if determinants > _LARGEST_CASSCF:
        raise ConfigurationError(
            f"CASSCF would diagonalize {determinants:,} determinants in each step; at most {_LARGEST_CASSCF:,} are sensible",
            advice="optimise in a smaller active space, or take natural orbitals (orbitals='mp2' or 'ccsd').",
        )
    mean = space.mean
    start = np.hstack([space.core, space.active, _rest(mean, np.hstack([space.core, space.active]))])
    solver: Any = mcscf.CASSCF(mean.field, norb, space.nelec)
    solver.verbose = 0
    solver.conv_tol, solver.conv_tol_grad, solver.max_cycle_macro = 1e-10, 1e-5, 100
    solver.ah_lindep, solver.ah_conv_tol = 1e-24, 1e-20  # with PySCF's own it stops early
    solver.fcisolver.conv_tol, solver.fcisolver.max_cycle = 1e-13, 200
    solver.fix_spin_(ss=molecule.spin / 2 * (molecule.spin / 2 + 1))
    # As for the mean field: of several solutions of one energy the push chooses one.
    pushed = mean.hcore + push_of(mean.mol)
    solver.get_hcore = lambda *_: pushed
    solver.kernel(start)
    solver.get_hcore = lambda *_: mean.hcore
    solver.kernel(solver.mo_coeff, solver.ci)
    if not solver.converged:
        raise NotConverged(
            f"CASSCF of {sum(space.nelec)} electrons in {norb} orbitals of {molecule.geometry} does not converge",
            advice="choose another active space (active_orbitals, avas), or natural orbitals.",
        )
    frozen = space.core.shape[1]
    core, active = solver.mo_coeff[:, :frozen], solver.mo_coeff[:, frozen : frozen + norb]
    density = active @ solver.fcisolver.make_rdm1(solver.ci, norb, space.nelec) @ active.T
    weighted = mean.overlap @ density @ mean.overlap
    fock = np.asarray(solver.get_fock())
    orders = [Order(lambda: -weighted, SAME_OCCUPANCY), Order(lambda: fock, SAME_ENERGY)]
    return ActiveSpace(mean, core, canonical(active, orders, Places(mean.mol, mean.irreps))[0], space.nelec)


def _rest(mean: MeanField, taken: Array) -> Array:
    """An orthonormal basis of what is left."""
    whole = mean.field.mo_coeff[0] if mean.is_uhf else mean.field.mo_coeff
    inner = taken.T @ mean.overlap @ whole
    _, _, right = np.linalg.svd(inner)
    return np.asarray(whole @ right[inner.shape[0] :].T)
