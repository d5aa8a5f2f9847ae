"""Measures a request: `python -m dagster_hpc.quantum.worker FOLDER` leaves samples and receipt where it was started.

It runs on the node that a quantum computer belongs to, and needs Qiskit there, but no Dagster.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from dagster_hpc.engine.errors import HPCError
from dagster_hpc.quantum.devices import device
from dagster_hpc.quantum.request import read_request, write_samples
from dagster_hpc.quantum.values import QuantumTimes, SamplesDamaged


def measure(asked: Path, folder: Path) -> None:
    """Measure the request in `asked`, and leave the samples in `folder`."""
    request, circuits = read_request(asked)
    run = device(request.device)
    began = time.time()
    measured = run(circuits, request.shots, request.seed, request.options)
    times = QuantumTimes(started_at=began, ended_at=time.time(), quantum_s=measured.quantum_s)
    sizes = [part.shape for part in measured.parts]
    wanted = [(request.shots, circuit.num_clbits) for circuit in circuits]
    if sizes != wanted:
        raise SamplesDamaged(f"the device {request.device} gave shots and bits {sizes}, asked for were {wanted}")
    write_samples(folder, asked, measured.parts, times)


def main(arguments: list[str]) -> int:
    (asked,) = arguments
    try:
        measure(Path(asked), Path.cwd())
    except HPCError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
