"""Coupled cluster in the active space, of the very integrals that are sampled.

No density is made in one basis and read in another.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.sqd.molecule.integrals import integrals_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.molecule.model import Molecule

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Amplitudes:
    """Coupled-cluster singles and doubles in the active space.

    Closed shell: `t1[i, a]`, `t2[i, j, a, b]`. Open shell: `t1` is (alpha, beta), `t2` (alpha-alpha, alpha-beta, beta-beta).

    Example:
        amplitudes = molecule.amplitudes()
        assert isinstance(amplitudes, Amplitudes) and amplitudes.converged
        print(amplitudes.t2.shape, amplitudes.correlation_energy)
    """

    t1: Array | tuple[Array, Array]
    t2: Array | tuple[Array, Array, Array]
    correlation_energy: float
    occupancies: tuple[Array, Array]
    converged: bool


@lru_cache(maxsize=4)
def amplitudes_of(molecule: Molecule, stamp: tuple[int, int] | None) -> Amplitudes:
    from pyscf import ao2mo, cc, gto, scf

    h, eri, core_energy, norb, nelec = integrals_of(molecule, stamp)
    restricted = nelec[0] == nelec[1]
    if restricted and nelec[0] == norb:  # nothing to excite to
        full = np.ones(norb)
        return Amplitudes(np.zeros((norb, 0)), np.zeros((norb, norb, 0, 0)), 0.0, (full, full.copy()), True)

    # Coupled cluster on the reference determinant of these very integrals: its orbitals are the unit matrix.
    mol = gto.M(verbose=0)
    mol.nelectron, mol.spin, mol.incore_anyway = sum(nelec), nelec[0] - nelec[1], True
    mol.nao = norb
    mol.energy_nuc = lambda *_: core_energy
    field = (scf.RHF if restricted else scf.UHF)(mol)
    field.get_hcore = lambda *_: h
    field.get_ovlp = lambda *_: np.eye(norb)
    field._eri = ao2mo.restore(8, eri, norb)
    occupied = [(np.arange(norb) < count).astype(float) for count in nelec]
    unit = np.eye(norb)
    field.mo_coeff, field.mo_occ = (unit, occupied[0] * 2) if restricted else ((unit, unit), tuple(occupied))
    fock = field.get_fock(dm=field.make_rdm1())
    field.mo_energy = np.diagonal(fock) if restricted else tuple(np.diagonal(f) for f in fock)
    field.e_tot, field.converged = field.energy_tot(dm=field.make_rdm1()), True
    solver = (cc.CCSD if restricted else cc.UCCSD)(field)
    solver.conv_tol, solver.conv_tol_normt, solver.max_cycle = 1e-9, 1e-7, 200
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        solver.kernel()
        solver.solve_lambda()
    density = solver.make_rdm1()
    alpha, beta = (density / 2, density / 2) if restricted else density
    return Amplitudes(
        t1=solver.t1,
        t2=solver.t2,
        correlation_energy=float(solver.e_corr),
        occupancies=(np.clip(np.diagonal(alpha), 0, 1), np.clip(np.diagonal(beta), 0, 1)),
        converged=bool(solver.converged and solver.converged_lambda),
    )
