"""The folder of one calculation: its inputs, its iterations, the best state; and the name that finds it again."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.sqd.molecule import MolecularIntegrals, Molecule
from dagster_hpc.sqd.npz import packed, plain_json, read_whole, unpacked, write_whole
from dagster_hpc.sqd.records import iteration_of, iteration_record, state_arrays, state_of
from dagster_hpc.sqd.values import Iteration, Occupancies, Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIState

    from dagster_hpc.sqd.inputs import Settings

FORMAT = 2  # of the folder; part of its name


class State:
    """The folder of one calculation. An iteration is there when its JSON file is, which is written last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def inputs(self) -> Problem | None:
        data = read_whole(self.folder / "inputs.npz")
        if data is None:
            return None
        arrays = unpacked(data, self.folder / "inputs.npz")
        norb, *nelec = (int(one) for one in arrays["size"])
        integrals = MolecularIntegrals(
            arrays["one_body"], arrays["two_body"], float(arrays["core_energy"]), norb, (nelec[0], nelec[1])
        )
        occupancies = (arrays["alpha"], arrays["beta"]) if "alpha" in arrays else None
        return Problem(integrals, occupancies)

    def write_inputs(self, problem: Problem) -> None:
        h, eri, core, norb, nelec = problem.integrals
        arrays = {
            "one_body": h, "two_body": eri, "core_energy": np.array(core), "size": np.array([norb, *nelec]),
        }  # fmt: skip
        if problem.occupancies is not None:
            arrays["alpha"], arrays["beta"] = problem.occupancies
        write_whole(self.folder / "inputs.npz", packed(arrays))

    def iterations(self) -> list[Iteration]:
        """Those that are whole, up to the first that is not."""
        done: list[Iteration] = []
        while (iteration := self._iteration(len(done) + 1)) is not None:
            done.append(iteration)
        return done

    def write(self, iteration: Iteration, sci_state: SCIState | None, *, best: int) -> None:
        """Durable before it returns. The state is kept of the best iteration only."""
        number = iteration.number
        if best == number:
            arrays = {"known": np.array(sci_state is not None), **state_arrays(sci_state)}
            write_whole(self._state_file(number), packed(arrays))
        row, parts = iteration_record(iteration)
        data = packed(parts)
        write_whole(self._file(number, "npz"), data)
        record = {**row, "arrays_sha256": hashlib.sha256(data).hexdigest()}
        write_whole(self._file(number, "json"), json.dumps(record, indent=1, default=plain_json).encode())
        for old in range(1, number + 1):
            if old != best:
                self._state_file(old).unlink(missing_ok=True)

    def sci_state(self, number: int, problem: Problem) -> tuple[bool, SCIState | None]:
        """Whether it is on record, and the state if the solver gave one."""
        path = self._state_file(number)
        data = read_whole(path)
        if data is None:
            return False, None
        return True, state_of(unpacked(data, path), problem.integrals.norb, problem.integrals.nelec)

    def _iteration(self, number: int) -> Iteration | None:
        text, data = read_whole(self._file(number, "json")), read_whole(self._file(number, "npz"))
        if text is None:
            return None
        record = json.loads(text)
        if data is None or hashlib.sha256(data).hexdigest() != record.pop("arrays_sha256"):
            warnings.warn(f"{self.folder}: iteration {number} is damaged and will be done again", stacklevel=2)
            return None
        return iteration_of(record, unpacked(data, self._file(number, "npz")))

    def _file(self, number: int, kind: str) -> Path:
        return self.folder / f"iteration-{number:04d}.{kind}"

    def _state_file(self, number: int) -> Path:
        return self.folder / f"state-{number:04d}.npz"


def fingerprint(
    molecule: Molecule | MolecularIntegrals,
    bitstrings: NDArray[np.bool_],
    settings: Settings,
    initial: Occupancies | str | None,
    solver: Any,
) -> str:
    """The same for the same calculation: samples in any order, and a molecule before its orbitals are computed."""
    rows, counts = np.unique(np.packbits(bitstrings, axis=1), axis=0, return_counts=True)
    text = {
        "format": FORMAT,
        "qiskit-addon-sqd": version("qiskit-addon-sqd"),
        "settings": asdict(settings),
        "solver": solver,
    }
    return name_of(molecule, initial, text, [rows, counts, np.array(bitstrings.shape)])


def name_of(
    molecule: Molecule | MolecularIntegrals,
    initial: Occupancies | str | None,
    text: dict[str, Any],
    arrays: Sequence[NDArray[Any]],
) -> str:
    """A hash of a molecule, of where recovery starts, and of all else that decides the numbers of a calculation."""
    text, arrays = dict(text), list(arrays)
    if isinstance(molecule, Molecule):
        text["molecule"] = molecule.model_dump(exclude={"fcidump"})
        if molecule.fcidump is not None:
            text["fcidump"] = hashlib.sha256(Path(molecule.fcidump).read_bytes()).hexdigest()
    else:
        arrays += [molecule.one_body, molecule.two_body]
        text["integrals"] = [float(molecule.core_energy), molecule.norb, list(molecule.nelec)]
    if isinstance(initial, str) or initial is None:
        text["initial"] = initial
    else:
        arrays += [np.asarray(part, np.float64) for part in initial]
    digest = hashlib.sha256(json.dumps(text, sort_keys=True, default=plain_json).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]
