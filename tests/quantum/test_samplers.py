"""What measures circuits: a simulator, a node of a cluster, a fake backend of IBM. One test for all where they are alike."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("qiskit_ibm_runtime")

from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister

from dagster_hpc import ExecutionProfile, HPCJobRunner, JobFailed, LocalTarget, SlurmTarget
from dagster_hpc.dagster_values import plain
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.quantum import (
    IBMSampler,
    LocalSampler,
    QuantumJob,
    QuantumSampler,
    SamplesDamaged,
    SlurmSampler,
    quantum_metadata,
)
from tests.quantum.client import bell
from tests.systems.needs import REPOSITORY
from tests.systems.slurm import SlurmCluster

KINDS = ["local", "ibm", "slurm"]


@pytest.fixture
def hpc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HPCJobRunner:
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))  # a device of these tests is imported by the job
    return HPCJobRunner(
        target=LocalTarget(poll_interval=0.2),
        profiles={"qpu": ExecutionProfile(environments={"PYTHONPATH": str(REPOSITORY)})},
        work_root=str(tmp_path / "work"),
    )


@pytest.fixture
def samplers(hpc: HPCJobRunner) -> dict[str, QuantumSampler]:
    return {
        "local": LocalSampler(),
        "ibm": IBMSampler(backend="fake_manila"),
        "slurm": SlurmSampler(hpc=hpc, profile="qpu"),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_shots_are_fetched_by_whoever_comes_next(samplers: dict[str, QuantumSampler], kind: str) -> None:
    """Two circuits, an odd number of shots, another process's sampler, all that is known in the metadata."""
    sampler = samplers[kind]

    job = sampler.submit([bell(), bell()], shots=101, seed=1)
    kept = QuantumJob.from_json(json.loads(json.dumps(job.to_json())))
    shots = sampler.model_copy().fetch(kept)

    assert [len(part) for part in shots.parts] == [51, 50]
    assert set(map(tuple, shots.bits.astype(int).tolist())) >= {(0, 0, 0), (0, 1, 1)}
    assert (shots.bits[:, 2] == shots.bits[:, 1]).mean() > 0.8  # qubit 0 is the last column, and as qubit 1
    again = sampler.submit([bell(), bell()], shots=101, seed=1)
    assert (again.joined, again.reference) == (True, job.reference)
    assert np.array_equal(sampler.fetch(again).bits, shots.bits)
    found = plain(quantum_metadata(job, shots))
    assert (found["sampler"], found["shots"], found["circuits"], found["qubits"]) == (kind, 101, 2, 3)
    assert found["two_qubit_gates"] == 2
    assert found["execution_s"] > 0
    assert found["queue_wait_s"] >= 0
    assert found["submitted_at"] <= found["started_at"] <= found["ended_at"]
    assert found["quantum_s"] is None  # nothing is charged
    (row,) = sampler.jobs()
    assert (str(row.state), row.reference, row.times["ended_at"]) == ("DONE", job.reference, shots.times.ended_at)


@pytest.mark.parametrize("kind", ["local", "ibm"])
def test_the_seed_decides_the_shots(samplers: dict[str, QuantumSampler], kind: str) -> None:
    sampler = samplers[kind]
    first, anew, other = (
        sampler.sample([bell()], shots=60, seed=seed, reuse=reuse).bits
        for seed, reuse in ((1, "succeeded"), (1, "never"), (2, "succeeded"))
    )
    assert np.array_equal(first, anew)
    assert not np.array_equal(first, other)
    assert len(sampler.jobs()) == 3


def test_a_batch_job_says_what_it_cost(samplers: dict[str, QuantumSampler]) -> None:
    job = samplers["slurm"].submit([bell()], shots=10, seed=1)
    shots = samplers["slurm"].fetch(job)
    found = plain(quantum_metadata(job, shots))
    assert (found["state"], found["quantum_job"]) == ("COMPLETED", job.reference)
    assert found["node_hours"] is not None
    assert shots.result is not None
    assert found["queue_wait_s"] == pytest.approx(shots.result.metrics.queue_wait_s, abs=1e-5)


def test_a_nodes_own_device_measures_and_charges(hpc: HPCJobRunner, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    sampler = SlurmSampler(
        hpc=hpc, profile="qpu", device="tests.quantum.devices:counted", options={"trace": str(trace)}
    )

    first, again = (sampler.sample([bell()], shots=10, seed=1) for _ in range(2))

    assert first.bits.all()
    assert again.times.quantum_s == 1.5
    assert trace.read_text() == "ran\n"


def test_a_job_whose_samples_are_damaged_is_submitted_anew(samplers: dict[str, QuantumSampler]) -> None:
    sampler = samplers["slurm"]
    job = sampler.submit([bell()], shots=10, seed=1)
    shots = sampler.fetch(job)
    assert shots.result is not None
    path = Path(shots.result.outputs["samples"])
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(SamplesDamaged, match="check sum"):
        sampler.fetch(job)

    again = sampler.submit([bell()], shots=10, seed=1)
    assert (again.joined, again.reference != job.reference) == (False, True)
    assert np.array_equal(sampler.fetch(again).bits, shots.bits)
    assert [str(row.state) for row in sampler.jobs()] == ["DONE", "FAILED"]


def test_a_job_that_fails_is_told_in_its_own_words_and_submitted_anew(hpc: HPCJobRunner) -> None:
    sampler = SlurmSampler(hpc=hpc, profile="qpu", device="nowhere.to:run")

    with pytest.raises(JobFailed, match=r"there is no device 'nowhere.to:run'"):
        sampler.sample([bell()], shots=10, seed=1)

    assert not sampler.submit([bell()], shots=10, seed=1).joined


def test_a_batch_job_that_was_submitted_and_not_written_down_is_joined(hpc: HPCJobRunner, tmp_path: Path) -> None:
    """The ledger's row of the quantum job stays at SUBMITTING; the batch job is there."""
    trace = tmp_path / "trace"
    sampler = SlurmSampler(
        hpc=hpc, profile="qpu", device="tests.quantum.devices:counted", options={"trace": str(trace)}
    )
    jobs = sampler.ledger.quantum
    submitted = jobs.submitted
    jobs.submitted = lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        sampler.submit([bell()], shots=10, seed=1)
    jobs.submitted = submitted  # type: ignore[method-assign]

    assert sampler.sample([bell()], shots=10, seed=1).bits.all()
    assert trace.read_text() == "ran\n"
    assert len(hpc.jobs()) == 1


def test_the_quantum_resource_of_slurm_is_asked_for(tmp_path: Path) -> None:
    hpc = HPCJobRunner(
        target=SlurmTarget(queue_cpu="quantum", qpu="ibm_kawasaki"),
        profiles={"qpu": ExecutionProfile(walltime="00:30:00")},
        work_root=str(tmp_path),
    )
    sampler = SlurmSampler(hpc=hpc, profile="qpu", python="/apps/python")

    script = hpc.render(sampler.command("abc"), profile="qpu")

    assert "#SBATCH --qpu=ibm_kawasaki" in script
    assert "dagster_hpc.quantum.worker" in script
    assert sampler.settings()["backend"] == "ibm_kawasaki"


@pytest.mark.needs("slurm")
def test_a_node_of_a_real_slurm_measures(tmp_path: Path, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    hpc = HPCJobRunner(
        target=SlurmTarget(queue_cpu="cpu", project_cpu=slurm.account, poll_interval=1.0),
        profiles={"qpu": ExecutionProfile(walltime="00:05:00")},
        work_root=str(tmp_path),
    )

    shots = SlurmSampler(hpc=hpc, profile="qpu").sample([bell()], shots=20, seed=1)

    assert shots.bits.shape == (20, 3)
    assert shots.result is not None
    assert shots.result.scheduler == "slurm"


def test_several_registers_are_read_as_one() -> None:
    first, second = ClassicalRegister(1, "a"), ClassicalRegister(2, "b")
    circuit = QuantumCircuit(QuantumRegister(3), first, second)
    circuit.x(0)
    circuit.measure([0, 1, 2], [0, 1, 2])

    for sampler in (LocalSampler(), IBMSampler(backend="fake_manila")):
        bits = sampler.sample([circuit], shots=200, seed=1).bits
        assert (bits.mean(axis=0) > 0.5).tolist() == [False, False, True]


def test_the_worker_needs_neither_dagster_nor_ibms_client() -> None:
    code = """
import sys, dagster_hpc.quantum.worker
print(sorted({"dagster", "qiskit_ibm_runtime", "pyscf", "ffsim", "sqlalchemy"} & set(sys.modules)))
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert said.stdout.strip() == "[]", said.stdout + said.stderr


@pytest.mark.parametrize(
    ("circuits", "more", "words"),
    [
        ([], {}, "no circuits"),
        ([QuantumCircuit(1)], {}, r"circuits \[0\] measure nothing"),
        ([bell()], {"shots": 0}, "at least one"),
        (lambda: [bell()], {}, "needs `content`"),
        (list, {"content": {"a": 1}}, "no circuits"),
    ],
)
def test_a_request_that_makes_no_sense_is_said(circuits: Any, more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        LocalSampler().submit(circuits, **{"shots": 10, "seed": 1, **more})
    assert LocalSampler().jobs() == []


def test_a_device_that_is_not_there_or_too_small_is_said(samplers: dict[str, QuantumSampler]) -> None:
    wide = QuantumCircuit(6)
    wide.measure_all()
    with pytest.raises(ConfigurationError, match=r"6 qubits are needed, fake_manila has 5"):
        samplers["ibm"].submit([wide], shots=1, seed=1)
    with pytest.raises(ConfigurationError, match="no fake backend 'fake_news'"):
        IBMSampler(backend="fake_news").submit([wide], shots=1, seed=1)


@pytest.mark.skipif(find_spec("qiskit_aer") is not None, reason="with it all fake backends are simulated")
def test_a_fake_device_too_large_for_this_machine_is_said() -> None:
    with pytest.raises(ConfigurationError, match="fake_fez cannot be simulated here") as said:
        IBMSampler(backend="fake_fez").sample([bell()], shots=1, seed=1)
    assert "install qiskit-aer" in str(said.value)


def test_a_job_of_another_sampler_is_refused(samplers: dict[str, QuantumSampler]) -> None:
    job = samplers["local"].submit([bell()], shots=1, seed=1)
    with pytest.raises(ConfigurationError, match="is one of a sampler 'local', this is 'ibm'"):
        samplers["ibm"].fetch(job)


def test_the_ledger_of_a_batch_job_is_its_runners(hpc: HPCJobRunner) -> None:
    with pytest.raises(ConfigurationError, match="give ledger_url to the HPCJobRunner"):
        SlurmSampler(hpc=hpc, profile="qpu", ledger_url="sqlite:///x.db").submit([bell()], shots=1, seed=1)
