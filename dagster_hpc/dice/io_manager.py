"""`SCIResultIOManager`: selected-CI results as HDF5 files, readable in ten years and by other programs; never pickle.

A file holds the arrays as datasets under the names of the fields (`sci_state/amplitudes`) and, in the dataset `structure`,
the rest as JSON. Only the classes named here are ever built from a file.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.engine.errors import HPCError
from dagster_hpc.value_files import ValueFiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = "dagster_hpc.sci"
VERSION = 1
_STRUCTURE = "structure"
_MODULE_OF = {
    "SCIResult": "qiskit_addon_sqd.fermion",
    "SCIState": "qiskit_addon_sqd.fermion",
    "DiceResult": "dagster_hpc.dice.result",
    "SparseState": "dagster_hpc.electrons.state",
    "StatelessResult": "dagster_hpc.subspace.result",
    "Check": "dagster_hpc.subspace.checks",
    "DiceText": "dagster_hpc.dice.output_text",
    "Iteration": "dagster_hpc.dice.output_text",
}
_LIMB = (1 << 64) - 1


class ResultFileInvalid(HPCError):
    """A file of this IO manager that it cannot read back."""


class SCIResultIOManager(ValueFiles):
    """Stores DiceResult, SCIResult and SCIState exactly, also lists, tuples and dicts of them, and plain arrays.

    One HDF5 file per asset and partition below `base_dir`; several upstream partitions are loaded as a dict.

    Example:
        resources = {"sci": SCIResultIOManager(base_dir="/data/results")}
        asset = build_dice_asset(ground_state, io_manager_key="sci")
    """

    extension = ".h5"

    def contents(self, value: Any) -> bytes:
        return to_bytes(value)

    def value(self, contents: bytes, name: str) -> Any:
        return from_bytes(contents, name)


def to_bytes(value: Any) -> bytes:
    """The file's contents."""
    import h5py  # type: ignore[import-untyped]

    arrays: dict[str, NDArray[Any]] = {}
    structure = _packed(value, "", arrays)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
        text = json.dumps(structure).encode("utf-8")
        file.create_dataset(_STRUCTURE, data=np.frombuffer(text, np.uint8))
        for name, array in arrays.items():
            file.create_dataset(f"arrays/{name}", data=array)
    return buffer.getvalue()


def from_bytes(data: bytes, name: str = "this file") -> Any:
    """What `to_bytes` was given."""
    import h5py

    try:
        file = h5py.File(io.BytesIO(data), "r")
    except OSError as error:
        raise ResultFileInvalid(f"{name} is no HDF5 file, or not a whole one: {error}") from error
    with file:
        if file.attrs.get("format") != FORMAT:
            raise ResultFileInvalid(f"{name} was not written by SCIResultIOManager")
        if file.attrs["version"] > VERSION:
            raise ResultFileInvalid(
                f"{name} is of version {file.attrs['version']}, this dagster_hpc reads up to {VERSION}",
                advice="read it with the dagster_hpc that wrote it, or a newer one.",
            )
        structure = json.loads(bytes(file[_STRUCTURE][()]).decode("utf-8"))
        return _unpacked(structure, lambda place: file[f"arrays/{place}"][()])


def _packed(value: Any, place: str, arrays: "dict[str, NDArray[Any]]") -> Any:
    """JSON for a value; its arrays go into `arrays`, under the place where they stand in it."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value)
    if isinstance(value, (list, tuple)):
        items = [_packed(item, _below(place, str(index)), arrays) for index, item in enumerate(value)]
        return {"list" if isinstance(value, list) else "tuple": items}
    if isinstance(value, Mapping):
        if not all(isinstance(key, (str, int)) and not isinstance(key, bool) for key in value):
            raise TypeError(f"SCIResultIOManager stores dicts with text or whole numbers as keys, not {list(value)!r}")
        return {
            "dict": [
                [key, _packed(item, _below(place, str(index)), arrays)]
                for index, (key, item) in enumerate(value.items())
            ]
        }
    if is_dataclass(value) and _MODULE_OF.get(type(value).__name__) == type(value).__module__:
        given = {
            field.name: _packed(getattr(value, field.name), _below(place, field.name), arrays)
            for field in fields(value)
        }
        return {"object": type(value).__name__, "fields": given}
    if hasattr(value, "__array__"):
        return _packed_array(np.asarray(value), place or "value", arrays)
    raise TypeError(
        f"SCIResultIOManager stores {', '.join(list(_MODULE_OF)[:3])}, arrays, numbers and text, "
        f"not {type(value).__name__}{f' (at {place})' if place else ''}: give this asset another IO manager"
    )


def _packed_array(array: "NDArray[Any]", place: str, arrays: "dict[str, NDArray[Any]]") -> Any:
    if array.dtype.kind == "O":
        return _packed_integers(array, place, arrays)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"SCIResultIOManager stores arrays of numbers, not of {array.dtype} (at {place})")
    arrays[place] = array
    return {"array": place}


def _packed_integers(array: "NDArray[Any]", place: str, arrays: "dict[str, NDArray[Any]]") -> Any:
    """Strings of 64 orbitals and more: Python integers, in words of 64 bits, the lowest first."""
    numbers = array.ravel().tolist()
    if not all(isinstance(number, (int, np.integer)) and number >= 0 for number in numbers):
        raise TypeError(f"SCIResultIOManager stores whole numbers in arrays of objects, nothing else (at {place})")
    numbers = [int(number) for number in numbers]
    width = max(1, -(-max((number.bit_length() for number in numbers), default=1) // 64))
    words = np.array([[number >> 64 * k & _LIMB for k in range(width)] for number in numbers], np.uint64)
    arrays[place] = words.reshape(len(numbers), width)
    return {"integers": place, "shape": list(array.shape)}


def _below(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _unpacked(value: Any, read: "Callable[[str], NDArray[Any]]") -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.asarray(read(value["array"]))
    if "integers" in value:
        words = read(value["integers"])
        array = np.empty(len(words), object)
        array[:] = [sum(int(word) << 64 * k for k, word in enumerate(row)) for row in words]
        return array.reshape(value["shape"])
    if "list" in value:
        return [_unpacked(item, read) for item in value["list"]]
    if "tuple" in value:
        return tuple(_unpacked(item, read) for item in value["tuple"])
    if "dict" in value:
        return {key: _unpacked(item, read) for key, item in value["dict"]}
    return _built(value["object"], {name: _unpacked(item, read) for name, item in value["fields"].items()})


def _built(name: str, given: dict[str, Any]) -> Any:
    if name not in _MODULE_OF:
        raise ResultFileInvalid(f"the file holds a {name!r}, which this dagster_hpc does not know")
    kind = getattr(import_module(_MODULE_OF[name]), name)
    known = {field.name for field in fields(kind)}
    unknown = [field for field in given if field not in known and given[field] is not None]
    if unknown:
        raise ResultFileInvalid(
            f"the file has {', '.join(unknown)} of a {name}, for which the installed {_MODULE_OF[name]} has no field",
            advice="install the version with which the file was written, or a newer one.",
        )
    return kind(**{field: item for field, item in given.items() if field in known})
