"""The orbitals of the whole molecule, ordered: of Hartree-Fock, or natural orbitals of a correlated density."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.sqd.molecule.canonical import SAME_ENERGY, SAME_OCCUPANCY, Order, Places, canonical
from dagster_hpc.sqd.molecule.mean_field import MeanField, NotConverged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.molecule.model import Molecule

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Orbitals:
    """One column each: those that the reference determinant fills twice, once, not at all."""

    coefficients: Array
    doubly: int
    singly: int
    energies: Array  # diagonal of the Fock matrix
    occupancies: Array  # of the density whose natural orbitals they are; else 2, 1 and 0
    equals: tuple[range, ...]  # runs of orbitals that only the symmetry of the molecule tells apart

    @property
    def count(self) -> int:
        return len(self.energies)


def ordered(molecule: Molecule, mean: MeanField) -> Orbitals:
    places, by_energy = Places(mean.mol, mean.irreps), Order(lambda: mean.fock, SAME_ENERGY)
    doubly, singly = mean.mol.nelec[1], mean.mol.nelec[0] - mean.mol.nelec[1]
    parts: list[tuple[Array, list[Order]]] = []
    natural = molecule.orbitals in ("mp2", "ccsd") or mean.is_uhf
    if not natural:
        parts = [(mean.field.mo_coeff[:, mean.field.mo_occ == filled], [by_energy]) for filled in (2, 1, 0)]
        density = mean.density
    else:
        density = _correlated(molecule, mean) if molecule.orbitals in ("mp2", "ccsd") else mean.density
        weighted = mean.overlap @ density @ mean.overlap
        orders = [Order(lambda: -weighted, SAME_OCCUPANCY), by_energy]
        whole, kept = np.asarray(mean.field.mo_coeff), 0
        if not mean.is_uhf:  # the frozen core stays that of Hartree-Fock, of which nothing was correlated
            whole, kept = whole[:, np.argsort(-mean.field.mo_occ, kind="stable")], molecule.frozen_core
            parts.append((whole[:, :kept], [by_energy]))
        else:
            whole = whole[0]
        parts.append((whole[:, kept:], orders))
    columns, equals = [], []
    start = 0
    for span, orders in parts:
        part, runs = canonical(span, orders, places)
        columns.append(part)
        equals += [range(start + run.start, start + run.stop) for run in runs if run.stop - run.start > 1]
        start += part.shape[1]
    coefficients = np.hstack(columns)
    side = mean.overlap @ coefficients
    return Orbitals(
        coefficients, doubly, singly,
        energies=np.einsum("pi,pq,qi->i", coefficients, mean.fock, coefficients),
        occupancies=np.einsum("pi,pq,qi->i", side, density, side),
        equals=tuple(equals),
    )  # fmt: skip


def _correlated(molecule: Molecule, mean: MeanField) -> Array:
    """The density of MP2 or CCSD in atomic orbitals, both spins."""
    from pyscf import cc, mp

    frozen = molecule.frozen_core or None
    solver: Any
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if molecule.orbitals == "mp2":
            solver = mp.MP2(mean.field, frozen=frozen)
            solver.kernel()
            converged = True
        else:
            solver = cc.CCSD(mean.field, frozen=frozen)
            solver.conv_tol, solver.conv_tol_normt, solver.max_cycle = 1e-11, 1e-9, 200
            solver.kernel()
            solver.solve_lambda()
            converged = solver.converged and solver.converged_lambda
    if not converged:
        raise NotConverged(
            f"CCSD of {molecule.geometry} in {molecule.basis} does not converge: it has no natural orbitals",
            advice="take orbitals='mp2', or 'casscf' with an active space.",
        )
    density = solver.make_rdm1()
    if isinstance(density, tuple):
        return np.asarray(sum(c @ one @ c.T for c, one in zip(solver.mo_coeff, density, strict=True)))
    return np.asarray(solver.mo_coeff @ density @ solver.mo_coeff.T)
