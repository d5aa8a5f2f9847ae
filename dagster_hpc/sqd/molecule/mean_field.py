"""The mean field that the orbitals come from: RHF, ROHF or UHF, converged tightly, to the same solution in every process."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError, HPCError
from dagster_hpc.sqd.molecule.canonical import centre_of
from dagster_hpc.sqd.molecule.potentials import forgone_by, potentials_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dagster_hpc.sqd.molecule.model import Molecule

    Array = NDArray[np.float64]

_ENERGY, _GRADIENT, _CYCLES = 1e-10, 1e-6, 100
# Orbitals are as exact as the gradient is small. How far it can sink is left to rounding.
_SHARP, _SHARPENING = 1e-11, 10
_DESCENTS = 5
_LOWER = 1e-8  # Hartree
_PARTED = 3  # pairs, as of a triple bond
_ABELIAN = {"Dooh": "D2h", "Coov": "C2v", "SO3": "D2h"}
_SOLUTION = ("mo_coeff", "mo_occ", "mo_energy", "e_tot")
_PUSH = 5e-3  # Hartree


class NotConverged(HPCError):
    """A self-consistent field that does not converge has no orbitals to sample in."""


@dataclass(frozen=True)
class MeanField:
    """A solution, in the coordinates as they were given."""

    mol: Any
    field: Any  # PySCF's RHF, ROHF or UHF
    hcore: Array
    fock: Array  # in atomic orbitals; for open shells the effective one of ROHF, or the mean over both spins
    density: Array  # in atomic orbitals, both spins
    irreps: Array | None  # operator whose eigenvalues number the irreducible representations

    @property
    def is_uhf(self) -> bool:
        return np.ndim(self.field.mo_occ) == 2

    @property
    def overlap(self) -> Array:
        return np.asarray(self.field.get_ovlp())


def solved(molecule: Molecule) -> MeanField:
    mol = _built(molecule)
    irreps = _irreps(mol) if mol.symmetry else None
    if mol.symmetry and mol.groupname in _ABELIAN:
        # PySCF gives both orbitals of a pi shell one shape, and with an open shell that converges nowhere.
        mol.build(False, False, symmetry_subgroup=_ABELIAN[mol.groupname], symmetry=True)
    field = _field(molecule, mol)
    hcore = np.asarray(field.get_hcore())
    # Where several solutions have one energy, as those of an oxygen atom, whose doubly occupied p orbital may point
    # anywhere, a push chooses one. It is taken away again; what has no choice is not changed by it.
    _set_hcore(field, hcore + push_of(mol))
    _make_stable(field, molecule)
    _set_hcore(field, hcore)
    _converge(field, field.make_rdm1(), molecule)

    density = np.asarray(field.make_rdm1())
    fock = np.asarray(field.get_fock(dm=density))
    if density.ndim == 3:  # alpha and beta
        density, fock = density.sum(axis=0), fock.mean(axis=0) if fock.ndim == 3 else fock
    return MeanField(mol, field, hcore, fock, density, irreps)


def _built(molecule: Molecule) -> Any:
    from pyscf import gto
    from pyscf.lib.exceptions import BasisNotFoundError, PointGroupSymmetryError

    potentials = potentials_of(molecule)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PySCF recommends an ECP that is given below
            mol = gto.M(
                atom=molecule.geometry, basis=molecule.basis, charge=molecule.charge, spin=molecule.spin,
                ecp={symbol: one.name for symbol, one in potentials.items()},
                symmetry=molecule.symmetry, unit=molecule.unit, verbose=0,
            )  # fmt: skip
    except (BasisNotFoundError, PointGroupSymmetryError) as error:
        said = " ".join(str(error).split())
        raise ConfigurationError(f"PySCF cannot build the molecule: {said}") from error
    forgone = forgone_by(molecule)
    why = f": {molecule.basis} is made for effective core potentials of {', '.join(forgone)}, and ecp is 'none'"
    if max(mol.nelec) > mol.nao:
        raise ConfigurationError(
            f"the basis {molecule.basis} has {mol.nao} orbitals here, too few for {sum(mol.nelec)} electrons"
            + (why if forgone else "")
        )
    if forgone:
        warnings.warn(f"the orbitals are poor{why}", stacklevel=2)
    return mol


def _field(molecule: Molecule, mol: Any) -> Any:
    from pyscf import scf

    kinds: dict[str, Callable[[Any], Any]] = {"rhf": scf.RHF, "rohf": scf.ROHF, "uhf": scf.UHF}
    field = kinds[molecule.reference or ("rohf" if molecule.spin else "rhf")](mol)
    return field.sfx2c1e() if molecule.relativity == "x2c" else field


def _set_hcore(field: Any, hcore: Array) -> None:
    field.get_hcore = lambda *_: hcore


def _converge(field: Any, guess: Any, molecule: Molecule) -> None:
    field.conv_tol, field.conv_tol_grad, field.max_cycle = _ENERGY, _GRADIENT, _CYCLES
    field.kernel(guess)
    if not field.converged:
        newton = field.newton()
        newton.conv_tol, newton.conv_tol_grad, newton.max_cycle = _ENERGY, _GRADIENT, _CYCLES
        newton.kernel(field.mo_coeff, field.mo_occ)
        if not newton.converged:
            raise NotConverged(
                f"Hartree-Fock of {molecule.geometry} in {molecule.basis} does not converge",
                advice="check geometry, charge and spin; for a stretched bond start from a smaller basis.",
            )
        _take(field, newton)
    if _has_choice(field):
        _sharpen(field)
    field.converged = True


def _sharpen(field: Any) -> None:
    """By steps of second order to the last digits. The usual iterations leave open what hardly changes the energy."""
    newton = field.newton()
    newton.conv_tol, newton.conv_tol_grad, newton.max_cycle = _ENERGY, _SHARP, _SHARPENING
    newton.ah_lindep, newton.ah_conv_tol, newton.ah_max_cycle = 1e-30, 1e-24, 100  # with PySCF's own it stops at 1e-6
    newton.kernel(field.mo_coeff, field.mo_occ)
    _take(field, newton)


def _has_choice(field: Any) -> bool:
    """Whether there are orbitals to turn into others."""
    occupied = np.atleast_2d(field.mo_occ) > 0
    return bool((occupied.any(axis=1) & ~occupied.all(axis=1)).any())


def _take(field: Any, other: Any) -> None:
    for name in _SOLUTION:
        setattr(field, name, getattr(other, name))


def _make_stable(field: Any, molecule: Molecule) -> None:
    """To a minimum: from a saddle point it goes down, to either side, and takes the lower one."""
    _converge(field, None, molecule)
    if np.ndim(field.mo_occ) == 2 and field.mol.spin == 0 and _has_choice(field):
        # Where alpha and beta are alike, nothing that PySCF does would ever tell them apart.
        _take(field, _lower(field, [field.mo_coeff, _parted(field)], molecule))
    for _ in range(_DESCENTS):
        downhill = _way_down(field)
        if downhill is None:
            return
        before = field.e_tot
        _take(field, _lower(field, _both_ways(field, downhill), molecule))
        if field.e_tot > before - _LOWER:
            break
    if _way_down(field) is not None:
        warnings.warn(
            f"Hartree-Fock of {molecule.geometry} in {molecule.basis} is a saddle point, and no lower solution was found "
            "from it: its orbitals may be a poor start. Another reference (uhf), geometry or point group may have a minimum",
            stacklevel=2,
        )


def _lower(field: Any, starts: list[Any], molecule: Molecule) -> SimpleNamespace:
    """The lowest of the solutions that are reached from these orbitals."""
    found = []
    for orbitals in starts:
        _converge(field, field.make_rdm1(orbitals, field.mo_occ), molecule)
        found.append(SimpleNamespace(**{name: getattr(field, name) for name in _SOLUTION}))
    return min(found, key=lambda one: one.e_tot)


def _parted(field: Any) -> Array:
    """Orbitals in which the highest electrons of alpha and of beta are drawn to opposite sides, as when a bond breaks."""
    orbitals = np.array(field.mo_coeff)
    for spin, sign in ((0, 1), (1, -1)):
        order = np.argsort(field.mo_energy[spin])
        full, empty = (order[field.mo_occ[spin][order] == one] for one in (1, 0))
        for low, high in zip(full[::-1][:_PARTED], empty[:_PARTED], strict=False):
            pair = orbitals[spin][:, [low, high]]
            orbitals[spin][:, [low, high]] = pair @ np.array([[1, -sign], [sign, 1]]) / np.sqrt(2)
    return orbitals


def _way_down(field: Any) -> Any:
    if not _has_choice(field):
        return None
    orbitals, _, stable, _ = field.stability(internal=True, external=False, return_status=True)
    return None if stable else orbitals


def _both_ways(field: Any, downhill: Any) -> list[Any]:
    """PySCF turns the orbitals one way, by a sign that rounding may change. The other way is the inverse turn."""
    here, there, overlap = np.asarray(field.mo_coeff), np.asarray(downhill), field.get_ovlp()
    turns = np.swapaxes(here, -1, -2) @ overlap @ there
    return [there, here @ np.swapaxes(turns, -1, -2)]


def push_of(mol: Any) -> Array:
    """A weak field that treats x, y and z, and both their directions, differently; bounded, however large the molecule."""
    with mol.with_common_orig(centre_of(mol)):
        squares = mol.intor_symmetric("int1e_rr", comp=9).reshape(3, 3, mol.nao, mol.nao)
        x, y, z = mol.intor_symmetric("int1e_r", comp=3)
    shape = -1.1 * squares[0, 0] - 0.2 * squares[1, 1] + 1.3 * squares[2, 2] + 0.05 * x + 0.07 * y + 0.11 * z
    values, vectors = np.linalg.eigh(mol.intor_symmetric("int1e_ovlp"))
    values = np.maximum(values, 1e-10)  # of a basis with nearly dependent functions
    root, inverse = ((vectors * values**power) @ vectors.T for power in (0.5, -0.5))
    values, vectors = np.linalg.eigh(inverse @ shape @ inverse)
    push = np.asarray(_PUSH * root @ (vectors * np.tanh(values)) @ vectors.T @ root)
    if not mol.symmetry:
        return push
    parts = [_projector(mol, basis) for basis in mol.symm_orb]  # what would break the point group is left out
    return np.asarray(sum(part @ push @ part.T for part in parts))


def _projector(mol: Any, basis: Array) -> Array:
    """On one representation, to be multiplied with integrals over atomic orbitals from the left."""
    side = mol.intor_symmetric("int1e_ovlp") @ basis
    return np.asarray(side @ np.linalg.solve(basis.T @ side, basis.T))


def _irreps(mol: Any) -> Array:
    overlap = mol.intor_symmetric("int1e_ovlp")
    total = np.zeros_like(overlap)
    numbers: dict[str, int] = {}
    for name, basis in zip(mol.irrep_name, mol.symm_orb, strict=True):
        # x and y across a linear molecule, and all directions of an atom, are somebody's choice of axes: one representation.
        whole = name.rstrip("xy") if mol.groupname in ("Dooh", "Coov") else name
        whole = whole[0] if mol.groupname == "SO3" else whole
        total += numbers.setdefault(whole, len(numbers)) * _projector(mol, basis) @ overlap
    return np.asarray(total)
