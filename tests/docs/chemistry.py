"""What the examples of the chemistry may use without making it: hydrogen, a bell pair, and programs that stand in."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget, SlurmTarget
from dagster_hpc.dice import DiceProblem, DiceSolver
from dagster_hpc.sqd import Hamiltonian, Molecule, Samples, UniformSource, sample_bitstrings
from dagster_hpc.sqd.cost import Shape
from tests.dice.stand_ins import EMBEDDED, UP_TO_63
from tests.quantum.service import DEVICE, Sampler, Service
from tests.sbd import stand_in

PACKAGES = tuple(
    f"dagster_hpc.{name}" for name in ("dice", "quantum", "sbd", "sqd", "sqd.closed_loop", "subspace")
)
SBD = f'{sys.executable} {stand_in.__file__} "$@"'
PROGRAMS = {
    "dice_solver": EMBEDDED,
    "narrow-dice": UP_TO_63.replace("NORB=64", "NORB=10"),
    "sbd": SBD,
    "rounding-sbd": f"export SBD_DIGITS=6\n{SBD}",
    "broken-sbd": "echo '  what():  Failed to open alpha det file.' >&2\nexit 134",
}


def local_runner(folder: Path) -> HPCJobRunner:
    """Real jobs of this machine, and PROGRAMS under their names."""
    programs = {}
    for name, lines in PROGRAMS.items():
        program = folder / name
        program.write_text(f"#!/bin/bash\n{lines}\n")
        program.chmod(0o755)
        programs[name] = str(program)
    return HPCJobRunner(
        target=LocalTarget(executable_map=programs),
        profiles={name: ExecutionProfile(walltime="00:10:00") for name in ("dice-mpi", "sbd-mpi", "qpu")},
        work_root=str(folder / "jobs"),
        ledger_url=f"sqlite:///{folder / 'ledger.db'}",
    )


def failing_service(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the devices that are named every job ends as an error; those that are called fake_… are there."""
    from qiskit_ibm_runtime import Sampler as real

    service = Service(folder)
    service.add = partial(service.add, status="ERROR")  # type: ignore[method-assign]
    monkeypatch.setattr("qiskit_ibm_runtime.QiskitRuntimeService", service)

    def sampler(mode: Any, options: Any) -> Any:
        return Sampler(service, options) if mode.name == DEVICE else real(mode, options=options)

    monkeypatch.setattr("qiskit_ibm_runtime.Sampler", sampler)


def prepared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Hydrogen in ten orbitals, with one electron of each spin: a hundred determinants."""
    from qiskit import QuantumCircuit

    failing_service(folder / "service", monkeypatch)

    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()

    def bell_pair() -> list[QuantumCircuit]:
        return [bell]

    molecule = Molecule(geometry="H 0 0 0; H 0 0 0.74", basis="cc-pvdz")
    one_body, two_body, _, norb, nelec = molecule.integrals()

    def ground_state() -> DiceProblem:
        return DiceProblem.full_space(one_body, two_body, norb, nelec)

    hamiltonian = Hamiltonian.of(molecule)
    (folder / "n2.fcidump").write_text(hamiltonian.fcidump)
    (folder / "ferrocene.xyz").write_text("1\n\nFe 0 0 0\n")
    bits = sample_bitstrings(UniformSource(right_particle_number=True), molecule, shots=300, seed=24)
    hpc = local_runner(folder)
    packages = [importlib.import_module(package) for package in PACKAGES]
    return {
        **{name: getattr(package, name) for package in packages for name in package.__all__},
        "HPCJobRunner": HPCJobRunner,
        "ExecutionProfile": ExecutionProfile,
        "SlurmTarget": SlurmTarget,
        "QuantumCircuit": QuantumCircuit,
        "Shape": Shape,
        "Path": Path,
        "np": np,
        "dg": dg,
        "bell": bell,
        "bell_pair": bell_pair,
        "molecule": molecule,
        "samples": Samples(bits, norb, nelec, 24, {"kind": "uniform"}, hamiltonian.signature),
        "one_body": one_body,
        "two_body": two_body,
        "strings": [1 << orbital for orbital in range(norb)],
        "ground_state": ground_state,
        "hpc": hpc,
        "dice": DiceSolver(hpc=hpc),
    }
