"""<S²> in the words of a chemist: which spin a state has, and whether that is the one that was meant."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

PURE = 0.1  # <S²> further away than this from S(S+1) is more than what a subspace of sampled strings does by itself
_NAMES = ("a singlet", "a doublet", "a triplet", "a quartet", "a quintet", "a sextet", "a septet", "an octet")


def lowest_spin_sq(nelec: tuple[int, int]) -> float:
    """S(S+1) of the lowest spin that these numbers of alpha and beta electrons can have."""
    return _square(abs(nelec[0] - nelec[1]))


class SpinFound(NamedTuple):
    """What became of the wanted spin. `sentence` is for the chemist."""

    is_wanted: bool
    is_another: bool  # nearer to another spin than to the wanted one
    sentence: str


def judge_spin(found: float | None, wanted: float) -> SpinFound:
    """Whether a state with this <S²> is the wanted one."""
    meant = f"{spin_name(wanted)} was meant" if _is_spin(wanted) else f"{wanted:g} was meant"
    if found is None:
        return SpinFound(True, False, f"unknown: the solver does not say <S²>; {meant}")
    if abs(found - wanted) < PURE:
        return SpinFound(True, False, f"the state found has <S²> {found:.2f}, as it was meant")
    parity = _twice(wanted) % 2
    nearest = min((_square(twice) for twice in range(parity, 60, 2)), key=lambda one: abs(one - found))
    if abs(found - nearest) < PURE:
        said = f"the state found has <S²> {found:.2f}: {spin_name(nearest)}; {meant}"
    else:
        said = f"the state found has <S²> {found:.2f}, a mixture of several spins; {meant}"
    return SpinFound(False, abs(nearest - wanted) > PURE, said)


def spin_name(spin_sq: float) -> str:
    """a singlet, a doublet, a triplet …"""
    twice = _twice(spin_sq)
    return _NAMES[twice] if twice < len(_NAMES) else f"a state of multiplicity {twice + 1}"


def _square(twice: int) -> float:
    return twice / 2 * (twice / 2 + 1)


def _twice(spin_sq: float) -> int:
    """2S of the S that is nearest."""
    return round(sqrt(1 + 4 * spin_sq) - 1)


def _is_spin(spin_sq: float) -> bool:
    return abs(_square(_twice(spin_sq)) - spin_sq) < 1e-6
