"""Generations and results as JSON rows and named arrays, for the folder of an unfinished loop and for stored values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from dagster_hpc.sqd.closed_loop.values import ClosedLoopResult, Generation, Trial
from dagster_hpc.sqd.npz import strings_of, words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ARRAYS = ("parameters", "population", "energies")
_PAIRS = ("carryover", "occupancies")


def generation_record(one: Generation) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `generation_of` takes back."""
    arrays = {name: getattr(one, name) for name in _ARRAYS}
    row = {"number": one.number, "seconds": one.seconds, "trials": [asdict(trial) for trial in one.trials]}
    return row, {**arrays, **_pairs(one)}


def generation_of(row: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Generation:
    trials = tuple(
        Trial(
            **{
                **trial,
                "energies": tuple(trial["energies"]),
                "subspace": tuple(trial["subspace"]),
                "jobs": tuple(trial["jobs"]),
            }
        )
        for trial in row["trials"]
    )
    kept: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
    return Generation(number=row["number"], seconds=row["seconds"], trials=trials, **kept, **_pairs_of(arrays))


def result_record(result: ClosedLoopResult) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `result_of` takes back."""
    arrays: dict[str, NDArray[Any]] = {"parameters": result.parameters, **_pairs(result)}
    rows = []
    for one in result.generations:
        row, parts = generation_record(one)
        rows.append(row)
        arrays |= {f"{one.number}.{name}": part for name, part in parts.items()}
    bare = asdict(replace(result, generations=(), **dict.fromkeys(("parameters", *_PAIRS), ())))  # type: ignore[arg-type]
    for name in ("parameters", *_PAIRS):
        del bare[name]
    return {**bare, "generations": rows}, arrays


def result_of(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> ClosedLoopResult:
    generations = []
    for row in header["generations"]:
        own = f"{row['number']}."
        parts = {name.removeprefix(own): part for name, part in arrays.items() if name.startswith(own)}
        generations.append(generation_of(row, parts))
    given: dict[str, Any] = {**header, "nelec": tuple(header["nelec"]), "generations": tuple(generations)}
    return ClosedLoopResult(**given, parameters=arrays["parameters"], **_pairs_of(arrays))


def _pairs(one: Generation | ClosedLoopResult) -> dict[str, NDArray[Any]]:
    made: dict[str, NDArray[Any]] = {}
    for place in (0, 1):
        made[f"carryover.{place}"] = words_of(one.carryover[place])
        made[f"occupancies.{place}"] = one.occupancies[place]
    return made


def _pairs_of(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    return {
        "carryover": (strings_of(arrays["carryover.0"]), strings_of(arrays["carryover.1"])),
        "occupancies": (arrays["occupancies.0"], arrays["occupancies.1"]),
    }
