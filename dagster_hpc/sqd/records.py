"""An iteration and a state as a row of JSON and named arrays: the one way in which folders and files hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from dagster_hpc.sqd.npz import strings_of, words_of
from dagster_hpc.sqd.values import Iteration

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIState

_PAIRS = ("occupancies", "carryover", "new_strings")  # of alpha and beta: kept as arrays, beside the row


def iteration_record(one: Iteration) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `iteration_of` takes back."""
    bare: Iteration = replace(one, **dict.fromkeys(_PAIRS, ()))  # type: ignore[arg-type]
    row = {name: value for name, value in asdict(bare).items() if name not in _PAIRS}
    pairs = {
        "occupancies": one.occupancies,
        "carryover": [words_of(part) for part in one.carryover],
        "new_strings": [words_of(part) for part in one.new_strings],
    }
    return row, {f"{name}.{place}": pair[place] for name, pair in pairs.items() for place in (0, 1)}


def iteration_of(row: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Iteration:
    """The iteration of a row and its arrays."""
    given: dict[str, Any] = {
        **row,
        "energies": tuple(row["energies"]),
        "subspaces": tuple((a, b) for a, b in row["subspaces"]),
        "jobs": tuple(row["jobs"]),
        "occupancies": (arrays["occupancies.0"], arrays["occupancies.1"]),
        "carryover": (strings_of(arrays["carryover.0"]), strings_of(arrays["carryover.1"])),
    }
    if "new_strings.0" in arrays:  # not in files of version 0.1
        given["new_strings"] = strings_of(arrays["new_strings.0"]), strings_of(arrays["new_strings.1"])
    return Iteration(**given)


def state_arrays(state: SCIState | None) -> dict[str, NDArray[Any]]:
    """What `state_of` takes back; nothing where there is no state."""
    if state is None:
        return {}
    strings = {"strings_a": words_of(state.ci_strs_a), "strings_b": words_of(state.ci_strs_b)}
    return {"amplitudes": state.amplitudes, **strings}


def state_of(arrays: Mapping[str, NDArray[Any]], norb: int, nelec: tuple[int, int]) -> SCIState | None:
    """The state, if there is one among the arrays."""
    if "amplitudes" not in arrays:
        return None
    from qiskit_addon_sqd.fermion import SCIState

    strings = strings_of(arrays["strings_a"]), strings_of(arrays["strings_b"])
    return SCIState(arrays["amplitudes"], *strings, norb=norb, nelec=nelec)
