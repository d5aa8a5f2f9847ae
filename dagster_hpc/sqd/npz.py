"""Arrays and JSON on the disk: a file is there as a whole or not at all, and nothing is ever pickled."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from dagster_hpc.engine.errors import HPCError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.values import Strings


class StateUnreadable(HPCError):
    """The state folder holds something else than what was written."""


def write_whole(path: Path, data: bytes) -> None:
    """The whole file or none, on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_whole(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    file = BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpacked(data: bytes, path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(BytesIO(data), allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, KeyError, BadZipFile) as error:
        raise StateUnreadable(f"{path} cannot be read: {error}", advice="remove its folder to start anew.") from error


def words_of(strings: Strings) -> NDArray[Any]:
    """Integers of any size without pickle: from 64 orbitals on as two words of 64 bits."""
    if strings.dtype != object:
        return np.ascontiguousarray(strings, np.int64)
    return np.array([[int(one) & (2**64 - 1), int(one) >> 64] for one in strings], np.uint64).reshape(-1, 2)


def strings_of(words: NDArray[Any]) -> Strings:
    if words.ndim == 1:
        return words
    strings = np.empty(len(words), object)
    strings[:] = [int(low) | int(high) << 64 for low, high in words]
    return strings


def plain_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} cannot be written as JSON")
