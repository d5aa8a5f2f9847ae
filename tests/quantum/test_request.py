"""Requests and samples as files: whole, and belonging together, or refused."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("qiskit")

from qiskit import QuantumCircuit

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.quantum.devices import STATEVECTOR, device, statevector
from dagster_hpc.quantum.request import RECEIPT, REQUEST, SAMPLES, Request, read_request, read_samples, request_files
from dagster_hpc.quantum.values import SamplesDamaged
from dagster_hpc.quantum.worker import main, measure


def flipped(qubits: int = 3) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits)
    circuit.x(0)
    circuit.measure_all()
    return circuit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place(tmp_path, Request(10, 1, STATEVECTOR, {}))
    return tmp_path


def place(folder: Path, request: Request, *circuits: QuantumCircuit) -> None:
    for name, content in request_files(circuits or [flipped()], request).items():
        (folder / name).write_bytes(content)


def test_what_was_measured_is_read(folder: Path) -> None:
    measure(folder, folder)

    (bits,), times = read_samples(folder, folder)

    assert bits.tolist() == [[False, False, True]] * 10  # the first qubit is the last column
    assert times.execution_s is not None


def test_circuits_of_several_sizes(tmp_path: Path) -> None:
    place(tmp_path, Request(2, 1, STATEVECTOR, {}), flipped(1), flipped(9))
    measure(tmp_path, tmp_path)
    assert [part.shape for part in read_samples(tmp_path, tmp_path)[0]] == [(2, 1), (2, 9)]


@pytest.mark.parametrize("kind", ["a bit", "cut", "empty", "gone"])
@pytest.mark.parametrize("name", [SAMPLES, RECEIPT])
def test_damage_is_refused(folder: Path, name: str, kind: str) -> None:
    measure(folder, folder)
    path = folder / name
    data = bytearray(path.read_bytes())
    if kind == "gone":
        path.unlink()
    else:
        data[random.Random(1).randrange(40) + (12 if name == RECEIPT else 0)] ^= 1  # within the check sum
        path.write_bytes({"a bit": bytes(data), "cut": bytes(data[:-9]), "empty": b""}[kind])

    with pytest.raises(SamplesDamaged, match=r"samples\.npz cannot be used"):
        read_samples(folder, folder)


def test_samples_of_another_request_are_refused(folder: Path, tmp_path: Path) -> None:
    measure(folder, folder)
    other = tmp_path / "other"
    other.mkdir()
    place(other, Request(10, 2, STATEVECTOR, {}))

    with pytest.raises(SamplesDamaged, match="answers another request"):
        read_samples(folder, other)


def test_damaged_circuits_are_not_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    circuits = folder / read_request(folder)[0].circuits
    circuits.write_bytes(circuits.read_bytes()[:-1])

    assert main([str(folder)]) == 1
    assert "are not those that were written there" in capsys.readouterr().err


def test_a_device_that_gives_other_shots_is_refused(tmp_path: Path) -> None:
    place(tmp_path, Request(10, 1, "tests.quantum.devices:too_few", {}))
    with pytest.raises(SamplesDamaged, match=r"gave shots and bits \[\(9, 3\)\], asked for were \[\(10, 3\)\]"):
        measure(tmp_path, tmp_path)
    assert not (tmp_path / RECEIPT).exists()


@pytest.mark.parametrize("name", ["nowhere.to:run", "json:nothing", "json", "", "json:__name__"])
def test_a_device_that_is_none_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no device|not a function"):
        device(name)


def test_what_the_simulator_cannot_do_is_said() -> None:
    with pytest.raises(ConfigurationError, match="27 qubits are too many"):
        statevector([flipped(27)], 1, 1, {})
    with pytest.raises(ConfigurationError, match="has no options, given are noise"):
        statevector([flipped()], 1, 1, {"noise": 1})


def test_a_request_names_its_circuits_by_their_content(tmp_path: Path) -> None:
    """Files that are left of a submission that broke off cannot get into the next one's request."""
    place(tmp_path, Request(1, 1, STATEVECTOR, {}), flipped(2))
    left = json.loads((tmp_path / REQUEST).read_text())["circuits_sha256"]
    place(tmp_path, Request(1, 1, STATEVECTOR, {}), flipped(3))

    assert read_request(tmp_path)[1][0].num_qubits == 3
    assert left != read_request(tmp_path)[0].circuits_sha256
