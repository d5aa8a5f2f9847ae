"""A quantum job as an asset, and its shots as another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

pytest.importorskip("qiskit_ibm_runtime")

from qiskit import QuantumCircuit

from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget
from dagster_hpc.dagster_values import plain
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.quantum import IBMSampler, LocalSampler, QuantumTimes, Shots, SlurmSampler, build_quantum_assets
from dagster_hpc.quantum.files import from_bytes, to_bytes
from tests.quantum.client import bell
from tests.quantum.service import Service

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dg.asset
def repetitions() -> int:
    return 2


def entangled(repetitions: int) -> Sequence[QuantumCircuit]:
    """Some Bell states."""
    return [bell()] * repetitions


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    import qiskit_ibm_runtime

    for name in ("QiskitRuntimeService", "Sampler"):
        monkeypatch.setattr(qiskit_ibm_runtime, name, None)  # and put back after the test
    return Service(tmp_path / "service").install()


def materialize(
    instance: dg.DagsterInstance, assets: Sequence[Any], sampler: Any, **more: Any
) -> dg.ExecuteInProcessResult:
    config = {**QUIET, **more.pop("run_config", {})}
    return dg.materialize(assets, resources={"quantum": sampler}, instance=instance, run_config=config, **more)


def told(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(asset)
    return dict(plain(event.metadata))


def test_the_job_is_submitted_in_one_run_and_fetched_in_another(
    instance: dg.DagsterInstance, service: Service
) -> None:
    assets = [repetitions, *build_quantum_assets(entangled, shots=101)]
    sampler = IBMSampler(search=0.0, poll_interval=0.05)

    first = materialize(instance, assets, sampler, selection=["repetitions", "entangled_job"])
    job = told(first, "entangled_job")
    second = materialize(instance, assets, sampler, selection=["entangled_shots"])
    shots = told(second, "entangled_shots")

    assert service.ids() == [job["quantum_job"]] == [shots["quantum_job"]]
    assert (job["backend"], job["circuits"], job["two_qubit_gates"]) == ("ibm_miyazaki", 2, 2)
    assert "quantum_s" not in job
    assert (shots["shots"], shots["quantum_s"], shots["queue_wait_s"]) == (101, 3.0, 60.0)
    assert second.output_for_node("entangled_shots").bits.shape == (101, 3)
    tags = instance.get_run_by_id(first.run_id).tags  # type: ignore[union-attr]
    assert tags["dagster_hpc/job_id.quantum"] == job["quantum_job"]


def test_a_second_run_fetches_what_the_first_submitted(instance: dg.DagsterInstance, service: Service) -> None:
    assets = [repetitions, *build_quantum_assets(entangled, shots=10)]
    sampler = IBMSampler(search=0.0)
    runs = [materialize(instance, assets, sampler) for _ in range(2)]
    assert [told(run, "entangled_job")["submitted_before"] for run in runs] == [False, True]
    assert len(service.ids()) == 1

    anew = {"ops": {"entangled_job": {"config": {"reuse": "never"}}}}
    more = {"ops": {"entangled_job": {"config": {"shots": 11}}}}
    for config in (anew, more):
        assert told(materialize(instance, assets, sampler, run_config=config), "entangled_shots")["shots"] >= 10
    assert len(service.ids()) == 3


def test_a_new_job_is_one_job_for_all_attempts_of_its_run(instance: dg.DagsterInstance, service: Service) -> None:
    """`never` means: not that of another run."""
    assets = [repetitions, *build_quantum_assets(entangled, shots=10, retry_policy=dg.RetryPolicy(max_retries=2))]
    sampler, add = IBMSampler(search=0.0), service.add
    troubles = ["connection reset by peer"]

    def lost(*arguments: Any, **more: Any) -> Any:
        made = add(*arguments, **more)
        if troubles:
            raise OSError(troubles.pop())
        return made

    service.add = lost  # type: ignore[method-assign]
    config = {"ops": {"entangled_job": {"config": {"reuse": "never"}}}}

    result = materialize(instance, assets, sampler, run_config=config)

    assert service.ids() == [told(result, "entangled_shots")["quantum_job"]]


def test_each_partition_is_a_job(instance: dg.DagsterInstance) -> None:
    def flipped(context: dg.AssetExecutionContext) -> Sequence[QuantumCircuit]:
        circuit = QuantumCircuit(2)
        circuit.x(int(context.partition_key))
        circuit.measure_all()
        return [circuit]

    keys = dg.StaticPartitionsDefinition(["0", "1"])
    assets = build_quantum_assets(flipped, shots=3, sampler="quantum", partitions_def=keys)
    for key, bits in (("0", [False, True]), ("1", [True, False])):
        result = materialize(instance, assets, LocalSampler(), partition_key=key)
        assert result.output_for_node("flipped_shots").bits.tolist() == [bits] * 3


def test_a_job_without_samples_fails_its_step_with_its_words(instance: dg.DagsterInstance, service: Service) -> None:
    assets = [repetitions, *build_quantum_assets(entangled, shots=10)]
    sampler = IBMSampler(search=0.0)
    job = told(materialize(instance, assets, sampler, selection=["repetitions", "entangled_job"]), "entangled_job")
    service.job(job["quantum_job"]).set(status="CANCELLED")

    with pytest.raises(dg.Failure, match=f"job {job['quantum_job']} on ibm_miyazaki ended as CANCELLED"):
        materialize(instance, assets, sampler, selection=["entangled_shots"])


def test_a_batch_job_is_an_asset_too(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    hpc = HPCJobRunner(
        target=LocalTarget(poll_interval=0.2), profiles={"qpu": ExecutionProfile()}, work_root=str(tmp_path / "work")
    )
    assets = [repetitions, *build_quantum_assets(entangled, shots=10)]
    result = materialize(instance, assets, SlurmSampler(hpc=hpc, profile="qpu"))
    job, shots = told(result, "entangled_job"), told(result, "entangled_shots")
    (row,) = hpc.jobs()
    assert (row.token, row.job_id, row.asset_key) == (job["quantum_job"], shots["job_id"], "entangled_job")
    assert shots["node_hours"] is not None

    with pytest.raises(dg.Failure, match="there is no device") as failed:
        materialize(instance, assets, SlurmSampler(hpc=hpc, profile="qpu", device="nowhere.to:run"))
    assert failed.value.metadata["state"].value == "FAILED"


def test_a_word_that_is_none_is_refused(instance: dg.DagsterInstance) -> None:
    config = {"ops": {"entangled_job": {"config": {"reuse": "always"}}}}
    with pytest.raises(dg.Failure, match="reuse is 'always'"):
        materialize(
            instance, [repetitions, *build_quantum_assets(entangled, shots=1)], LocalSampler(), run_config=config
        )


def test_shots_come_back_as_they_were() -> None:
    shots = Shots((np.eye(3, 5, dtype=bool), np.ones((1, 9), bool)), QuantumTimes(1.0, 2.0, 3.0, 0.5))
    back = from_bytes(to_bytes(shots))
    assert all(np.array_equal(one, other) for one, other in zip(back.parts, shots.parts, strict=True))
    assert back.times == shots.times
    with pytest.raises(TypeError, match="not dict"):
        to_bytes({})


# -------------------------------------------------------------------------------------------------------------------- SQD


def sqd(**more: Any) -> list[dg.AssetsDefinition]:
    pytest.importorskip("ffsim")
    from dagster_hpc.sqd import Molecule, build_sqd_assets

    h2 = Molecule(geometry="H 0 0 0; H 0 0 0.74", basis="sto-3g")
    how = {"source": "lucj", "shots": 40, "seed": 3, "sampler": "quantum", "samples_per_batch": 4, **more}
    return build_sqd_assets(h2, name="h2", solver=None, **how)


def test_the_samples_of_sqd_are_a_job_and_its_bitstrings(instance: dg.DagsterInstance, service: Service) -> None:
    assets = sqd(shots=2000, samples_per_batch=200)
    sampler = IBMSampler(search=0.0, poll_interval=0.05)
    first = materialize(instance, assets, sampler, selection=["h2_hamiltonian", "h2_quantum_job"])
    second = materialize(instance, assets, sampler, selection=["h2_samples", "h2_result"])

    job, found = told(first, "h2_quantum_job"), told(second, "h2_samples")
    assert service.ids() == [job["quantum_job"]] == [found["quantum_job"]]
    assert (found["shots"], found["seed"], found["quantum_s"]) == (2000, 3, 3.0)
    samples = second.output_for_node("h2_samples")
    assert samples.source["kind"] == "lucj"
    assert samples.hamiltonian == first.output_for_node("h2_hamiltonian").signature
    assert told(second, "h2_result")["energy"] == pytest.approx(-1.1373, abs=1e-3)


def test_a_quantum_job_of_another_circuit_is_refused(instance: dg.DagsterInstance) -> None:
    materialize(instance, sqd(), LocalSampler(), selection=["h2_hamiltonian", "h2_quantum_job"])
    with pytest.raises(dg.Failure, match="measured another circuit"):
        materialize(instance, sqd(source="krylov"), LocalSampler(), selection=["h2_samples"])


@pytest.mark.parametrize("source", ["uniform", "ibm"])
def test_a_sampler_measures_circuits_only(source: str) -> None:
    with pytest.raises(ConfigurationError, match=f"the source {source} is no circuit"):
        sqd(source=source)


def test_the_content_of_a_circuit_is_the_same_in_every_process() -> None:
    """Integrals that differ in their last digits are the same Hamiltonian, and quantum time is paid once."""
    pytest.importorskip("ffsim")
    from dagster_hpc.sqd import LUCJSource, Molecule
    from dagster_hpc.sqd.measured import content_of

    integrals = Molecule(geometry="Li 0 0 0; H 0 0 1.6", basis="sto-3g").integrals()
    other = Molecule(geometry="Li 0 0 0; H 0 0 1.61", basis="sto-3g").integrals()
    nearly = integrals._replace(one_body=integrals.one_body + 1e-9, core_energy=integrals.core_energy + 1e-9)

    assert content_of(LUCJSource(), nearly) == content_of(LUCJSource(), integrals)
    assert content_of(LUCJSource(), other) != content_of(LUCJSource(), integrals)
    assert content_of(LUCJSource(layers=2), integrals) != content_of(LUCJSource(), integrals)
