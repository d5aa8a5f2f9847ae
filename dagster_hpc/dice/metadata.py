"""DiceResult and its jobs → Dagster metadata and asset checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from dagster_hpc.dagster_values import code, number, numbers, table, whole_numbers
from dagster_hpc.dice.validation import NAMES
from dagster_hpc.metadata import array_costs, job_metadata

if TYPE_CHECKING:
    from dagster_hpc.dice.result import DiceResult
    from dagster_hpc.dice.run import DiceRun
    from dagster_hpc.dice.validation import Check
    from dagster_hpc.engine.job import JobResult

_LEADING = 10


def dice_metadata(
    result: DiceResult, *, core_energy: float = 0.0, hf_energy: float | None = None
) -> dict[str, dg.MetadataValue]:
    """What was found. `core_energy` is what `result.energy` contains of it; `hf_energy` is the total one, if known.

    Example:
        result = dice.solve((strings, strings), one_body, two_body, norb=10, nelec=(1, 1))
        told = dice_metadata(result)
        print(told["energy"].value, told["leading_determinants"].value)
    """
    alpha, beta = result.orbital_occupancies
    metadata: dict[str, dg.MetadataValue] = {
        "energy": number(result.energy),
        "energy_without_core": number(result.energy - core_energy),
        "core_energy": number(core_energy),
        "norb": dg.MetadataValue.int(result.norb),
        "nelec": whole_numbers(result.nelec),
        "determinants": dg.MetadataValue.int(result.dimension),
        "alpha_strings": dg.MetadataValue.int(len(result.strings_a)),
        "beta_strings": dg.MetadataValue.int(len(result.strings_b)),
        "spin_square": number(result.spin_square, digits=8),
        "occupancies_alpha": numbers(alpha),
        "occupancies_beta": numbers(beta),
        "leading_determinants": _leading(result),
        "checks": _checks(result.checks),
    }
    if result.others:
        rows = [{"root": one.root, "energy": one.energy, "spin_square": one.spin_square} for one in result.roots]
        metadata["roots"] = table(rows, {"root": "int", "energy": "float", "spin_square": "float"})
    if hf_energy is not None:
        metadata["hf_energy"] = number(hf_energy)
        metadata["correlation_energy"] = number(result.energy - hf_energy)
    return metadata


def run_metadata(run: DiceRun) -> dict[str, dg.MetadataValue]:
    """What it took: the job that gave the answer, and the sums over all that were needed."""
    metadata = jobs_metadata(run.jobs)
    metadata["solver"] = dg.MetadataValue.text(run.solver)
    if run.problems:
        metadata["problems"] = code("\n\n".join(run.problems))
    return metadata


def jobs_metadata(jobs: Sequence[JobResult]) -> dict[str, dg.MetadataValue]:
    """The last job as `job_metadata` tells it, and with the prefix `all_jobs_` what all of them cost together."""
    if not jobs:
        return {}
    return {
        **job_metadata(jobs[-1]),
        "jobs": dg.MetadataValue.int(len(jobs)),
        **{f"all_jobs_{name}": value for name, value in array_costs(jobs).items()},
    }


def _leading(result: DiceResult) -> dg.MetadataValue:
    rows = [
        {"orbitals": row.orbitals, "coefficient": row.coefficient, "weight": row.weight}
        for row in result.leading(_LEADING)
    ]
    return table(rows, {"orbitals": "string", "coefficient": "float", "weight": "float"})


def _checks(checks: Sequence[Check]) -> dg.MetadataValue:
    """Check → passed; null where it could not be made."""
    return dg.MetadataValue.json({check.name: check.passed for check in checks})


def check_specs(asset: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """One blocking check for each question that an answer is asked."""
    return [
        dg.AssetCheckSpec(name, asset=asset, description=sentence, blocking=True) for name, sentence in NAMES.items()
    ]


def check_results(checks: Sequence[Check], asset: dg.AssetKey) -> Iterator[dg.AssetCheckResult]:
    """One result for each spec. A check that could not be made passes, and says why it was not made."""
    made = {check.name: check for check in checks}
    for name in NAMES:
        check = made.get(name)
        if check is None or check.passed is None:
            why = check.sentence if check else "it does not apply to this run"
            yield _result(
                asset, name, passed=True, sentence=f"not made: {why}", metadata={"made": dg.MetadataValue.bool(False)}
            )
            continue
        figures = {"made": dg.MetadataValue.bool(True), "value": number(check.value), "limit": number(check.limit)}
        yield _result(asset, name, passed=check.passed, sentence=check.sentence, metadata=figures)


def failed_check_results(checks: Sequence[Check], asset: dg.AssetKey) -> Iterator[dg.AssetCheckResult]:
    """The checks of an answer that was rejected, as far as they were made."""
    made = {check.name for check in checks if check.passed is not None}
    return (result for result in check_results(checks, asset) if result.check_name in made)


def _result(
    asset: dg.AssetKey, name: str, *, passed: bool, sentence: str, metadata: Mapping[str, dg.MetadataValue]
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name, asset_key=asset, passed=passed, description=sentence, metadata=dict(metadata)
    )
