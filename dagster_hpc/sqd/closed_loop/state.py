"""The folder of one closed loop: what it started from and its generations; and the name that finds it again."""

from __future__ import annotations

import hashlib
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dagster_hpc.sqd.closed_loop.records import generation_of, generation_record
from dagster_hpc.sqd.npz import packed, plain_json, read_whole, unpacked, write_whole
from dagster_hpc.sqd.state import State, name_of
from dagster_hpc.sqd.values import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.closed_loop.values import Generation
    from dagster_hpc.sqd.molecule import MolecularIntegrals, Molecule
    from dagster_hpc.sqd.values import Occupancies

FORMAT = 1  # of the folder; part of its name


class Inputs(NamedTuple):
    """What the first start computed: computed again, orbitals and parameters may differ in the last digits."""

    problem: Problem
    start: NDArray[np.float64]


class ClosedLoopState:
    """The folder of one closed loop. A generation is there when its JSON file is, which is written last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def inputs(self) -> Inputs | None:
        problem = State(self.folder).inputs()
        data = read_whole(self.folder / "start.npz")
        if problem is None or data is None:
            return None
        return Inputs(problem, unpacked(data, self.folder / "start.npz")["parameters"])

    def write_inputs(self, inputs: Inputs) -> None:
        State(self.folder).write_inputs(inputs.problem)
        write_whole(self.folder / "start.npz", packed({"parameters": inputs.start}))

    def generations(self) -> list[Generation]:
        """Those that are whole, up to the first that is not."""
        done: list[Generation] = []
        while (one := self._generation(len(done) + 1)) is not None:
            done.append(one)
        return done

    def write(self, generation: Generation) -> None:
        """Durable before it returns."""
        row, arrays = generation_record(generation)
        data = packed(arrays)
        write_whole(self._file(generation.number, "npz"), data)
        record = {**row, "arrays_sha256": hashlib.sha256(data).hexdigest()}
        write_whole(self._file(generation.number, "json"), json.dumps(record, indent=1, default=plain_json).encode())

    def _generation(self, number: int) -> Generation | None:
        text, data = read_whole(self._file(number, "json")), read_whole(self._file(number, "npz"))
        if text is None:
            return None
        row = json.loads(text)
        if data is None or hashlib.sha256(data).hexdigest() != row.pop("arrays_sha256"):
            warnings.warn(f"{self.folder}: generation {number} is damaged and will be done again", stacklevel=2)
            return None
        return generation_of(row, unpacked(data, self._file(number, "npz")))

    def _file(self, number: int, kind: str) -> Path:
        return self.folder / f"generation-{number:04d}.{kind}"


def fingerprint(
    molecule: Molecule | MolecularIntegrals,
    start: NDArray[np.float64] | None,
    initial: Occupancies | str | None,
    settings: Any,
) -> str:
    """The same for the same calculation."""
    versions = {name: version(name) for name in ("qiskit-addon-sqd", "ffsim")}
    text = {"closed_loop": FORMAT, "versions": versions, "settings": settings}
    return name_of(molecule, initial, text, [] if start is None else [np.asarray(start, np.float64)])
