"""What a chemist asks of an SQD result before it is believed, as asset checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import numpy as np

from dagster_hpc.dagster_values import number, text
from dagster_hpc.sqd.spin import judge_spin
from dagster_hpc.sqd.values import MILLI, SQDResult

CHECKS = {
    "converged": "Energy and occupancies stayed within their tolerances from the last iteration but one to the last.",
    "recovery": "Configuration recovery had something to do, or all determinants are in the subspace.",
    "spin": "<S²> of the state is that of the spin that was asked for; else of the lowest that these electrons can have.",
    "electrons": "The occupancies sum to the numbers of alpha and beta electrons.",
    "below_reference": "The energy is not above that of the reference determinant.",
    "below_ccsd": "The energy is not above that of CCSD, where CCSD converges.",
}
_WARN, _ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR


@dataclass(frozen=True)
class Finding:
    """What became of one check. `sentence`: what it means, and what to do."""

    name: str
    passed: bool
    sentence: str = ""
    severity: dg.AssetCheckSeverity = _WARN
    figures: dict[str, Any] = field(default_factory=dict)


def check_results(
    result: SQDResult, key: dg.AssetKey, *, ccsd_energy: float | None = None
) -> list[dg.AssetCheckResult]:
    """Whether the result keeps what `CHECKS` says."""
    return [
        dg.AssetCheckResult(
            check_name=one.name, asset_key=key, passed=one.passed, severity=one.severity,
            description=one.sentence or None, metadata={"finding": text(one.sentence), **one.figures},
        )
        for one in findings(result, ccsd_energy=ccsd_energy)
    ]  # fmt: skip


def findings(result: SQDResult, *, ccsd_energy: float | None = None) -> list[Finding]:
    """All checks of a result, without Dagster's asset around them."""
    off = max(abs(float(np.sum(part)) - count) for part, count in zip(result.occupancies, result.nelec, strict=True))
    return [
        _converged(result),
        _recovery(result),
        _spin(result),
        Finding("electrons", off < 1e-4, severity=_ERROR, figures={"off_by": off}),
        Finding(
            "below_reference", result.correlation_energy < 1e-8,
            "" if result.correlation_energy < 1e-8 else "the samples are poor: one determinant is better than all of them",
            figures={"correlation_energy": result.correlation_energy},
        ),
        _below_ccsd(result, ccsd_energy),
    ]  # fmt: skip


def _converged(result: SQDResult) -> Finding:
    last = result.iterations[-2:]
    change = abs(last[-1].energy - last[0].energy) if len(last) == 2 else None
    grown = sum(map(len, result.iterations[-1].new_strings))
    said = "" if result.converged else "more iterations go on from here: raise max_iterations"
    figures = {"iterations": len(result.iterations), "last_change": number(change), "new_strings_in_last": grown}
    return Finding("converged", result.converged, said, figures=figures)


def _recovery(result: SQDResult) -> Finding:
    shares = [one.recovered for one in result.iterations]
    known = [one for one in shares if one is not None]
    last = result.iterations[-1]
    figures = {
        "recovered": number(max(known, default=None)), "samples": number(last.samples), "made_by_recovery": number(last.made)
    }  # fmt: skip
    if result.complete:
        return Finding("recovery", True, "all determinants of these orbitals are in the subspace", figures=figures)
    if len(known) < len(shares) or any(known):
        return Finding("recovery", True, figures=figures)
    if last.right_shots is not None and last.right_shots < 1:
        said = "only the shots with the right electrons were taken: recovery begins with the second iteration"
        return Finding("recovery", False, said, figures=figures)
    how = "converged with nothing to recover" if result.converged else "nothing to recover"
    said = (
        f"{how}: all shots have the right electrons, and {last.samples} different configurations are all that the loop "
        "ever sees. That the energy stays says nothing about the exact one. More shots, another source, or one with "
        "noise (bit_flip, depolarizing) are needed"
    )
    return Finding("recovery", False, said, figures=figures)


def _spin(result: SQDResult) -> Finding:
    found = judge_spin(result.spin_square, result.wanted_spin_sq)
    asked = result.spin_sq is not None
    said = found.sentence
    if found.is_another and not asked:
        said += f". If it is to be that one, ask for it: spin_sq={result.wanted_spin_sq:g}"
    figures = {"spin_square": number(result.spin_square, digits=8), "wanted": result.wanted_spin_sq}
    return Finding("spin", found.is_wanted, said, _ERROR if asked and found.is_another else _WARN, figures)


def _below_ccsd(result: SQDResult, ccsd_energy: float | None) -> Finding:
    if ccsd_energy is None:
        return Finding("below_ccsd", True, "unknown: CCSD did not converge")
    above = (result.total_energy - ccsd_energy) * MILLI
    figures = {"above_ccsd_mha": above}
    if above < 1e-3:
        return Finding("below_ccsd", True, figures=figures)
    if result.complete:
        return Finding("below_ccsd", True, "CCSD is below the exact energy of these orbitals", figures=figures)
    said = (
        f"the energy is {above:.2f} mHa above CCSD's, which costs less: the subspace is too small or the samples are poor. "
        "(Where bonds are stretched far, CCSD may be below the exact energy: it is not variational)"
    )
    return Finding("below_ccsd", False, said, figures=figures)
