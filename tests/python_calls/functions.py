"""Functions that a node imports by their name."""

from __future__ import annotations

import os
import sys
import time
from typing import Any


class NoSuchCrystal(Exception):
    """An exception that travels, with all that it holds."""

    def __init__(self, name: str, temperature: float) -> None:
        super().__init__(name, temperature)
        self.name, self.temperature = name, temperature


class Unsendable(Exception):
    """One that cannot be pickled: it wants other arguments than it hands on."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)


def scaled(values: list[float], *, by: float = 1.0) -> list[float]:
    return [by * value for value in values]


def traced(path: str, value: Any) -> Any:
    """The value; each time that this runs leaves a mark."""
    with open(path, "a") as file:
        file.write("x")
    return value


def waits_for(path: str, value: Any) -> Any:
    while not os.path.exists(path):
        time.sleep(0.02)
    return value


def melts(name: str) -> None:
    raise NoSuchCrystal(name, 273.15)


def unsendable() -> None:
    raise Unsendable(1, "too large a crystal")


def leaves(code: Any) -> None:
    sys.exit(code)


def vanishes() -> None:
    os._exit(0)


def crashes() -> None:
    import ctypes

    ctypes.string_at(0)


def big(size: int) -> bytes:
    return b"\7" * size


def total(parts: list[int], more: dict[str, int]) -> int:
    return sum(parts) + sum(more.values())


def rank_and_size(value: int) -> tuple[int, int, int, int]:
    """Its own, and the sum of all ranks, for which they have to speak with each other."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    return value, world.Get_size(), world.Get_rank(), world.allreduce(world.Get_rank() + 1)


def fails_on_rank_1() -> None:
    """The other rank waits for it."""
    from mpi4py import MPI

    if MPI.COMM_WORLD.Get_rank() == 1:
        raise NoSuchCrystal("halite", 1.0)
    MPI.COMM_WORLD.Barrier()
