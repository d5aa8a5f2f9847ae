"""Molecule → samples → result as assets: typed, stored without pickle, with everything that matters in their metadata."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget
from dagster_hpc.dagster_values import plain
from dagster_hpc.dice import DiceSolver
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd import Molecule, SQDResult, build_sqd_assets, run_sqd
from dagster_hpc.sqd.dagster_types import SamplesType, SQDResultType
from dagster_hpc.sqd.files import from_bytes, to_bytes
from dagster_hpc.sqd.records import iteration_of, iteration_record
from dagster_hpc.sqd.values import Hamiltonian, Samples
from tests.systems.needs import REPOSITORY
from tests.systems.slurm import SlurmCluster

pytest.importorskip("qiskit_addon_sqd")

CURVE = {
    bond: Molecule(geometry=f"N 0 0 0; N 0 0 {bond}", basis="6-31g", symmetry=True, active_space=(6, 6))
    for bond in ("1.1", "1.5")
}
BUILT: dict[str, Any] = {
    "name": "n2", "shots": 200, "seed": 24, "samples_per_batch": 6, "num_batches": 2, "max_iterations": 3,
}  # fmt: skip
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


def materialize(
    instance: dg.DagsterInstance, assets: list[dg.AssetsDefinition], partition: str | None = "1.1", **more: Any
) -> dg.ExecuteInProcessResult:
    config = {**QUIET, **more.pop("run_config", {})}
    return dg.materialize(assets, partition_key=partition, instance=instance, run_config=config, **more)


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(asset)
    return dict(plain(event.metadata))


def test_a_geometry_is_a_partition_and_the_curve_is_drawn(instance: dg.DagsterInstance) -> None:
    assets = build_sqd_assets(CURVE, **BUILT, solver=None)
    for bond in CURVE:
        result = materialize(instance, assets[:3], bond)
        assert result.success
    found = metadata(result, "n2_result")
    value = result.output_for_node("n2_result")
    assert found["energy"] == pytest.approx(found["energy_without_core"] + found["core_energy"])
    assert found["correlation_energy"] == pytest.approx(found["energy"] - found["hf_energy"])
    assert (found["norb"], found["nelec"], found["seed"]) == (6, [3, 3], 24)
    assert found["determinants"] == value.determinants
    assert found["spin_square"] == pytest.approx(value.sci_state.spin_square())
    assert sum(found["occupancies_alpha"]) == pytest.approx(3)
    assert len(found["convergence"].records) == found["iterations"] == 3
    assert abs(found["leading_determinants"].records[0].data["coefficient"]) > 0.5
    png = base64.b64decode(found["picture"].partition("base64,")[2].rstrip(")"))
    assert png.startswith(b"\x89PNG")

    drawn = materialize(instance, assets, None, selection=["n2_curve"])
    curve = metadata(drawn, "n2_curve")
    assert curve["geometries"] == 2
    assert curve["lowest_geometry"] == "1.1"
    assert [row.data["energy"] for row in curve["energies"].records][1] == pytest.approx(found["energy"], abs=1e-9)


def test_a_curve_is_drawn_of_what_is_there(instance: dg.DagsterInstance) -> None:
    assets = build_sqd_assets(CURVE, **BUILT, solver=None)
    materialize(instance, assets[:3], "1.5")
    assert metadata(materialize(instance, assets, None, selection=["n2_curve"]), "n2_curve")["geometries"] == 1


def test_the_assets_are_the_loop(instance: dg.DagsterInstance) -> None:
    """The same as `run_sqd` in a script, on the orbitals and samples of the assets."""
    assets = build_sqd_assets(CURVE, **BUILT, solver=None)
    result = materialize(instance, assets[:3])
    hamiltonian: Hamiltonian = result.output_for_node("n2_hamiltonian")
    samples: Samples = result.output_for_node("n2_samples")
    script = run_sqd(
        hamiltonian.integrals(), samples.bitstrings, seed=24, samples_per_batch=6, num_batches=2, max_iterations=3,
        initial_occupancies=hamiltonian.occupancies,
    )  # fmt: skip
    assert result.output_for_node("n2_result").energy == script.energy
    assert hamiltonian.reference_energy == pytest.approx(CURVE["1.1"].hf_energy(), abs=1e-8)


def test_jobs_and_what_they_cost(instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    hpc = HPCJobRunner(
        target=LocalTarget(), profiles={"dice-mpi": ExecutionProfile(ompthreads=1)}, work_root=str(tmp_path / "work")
    )
    dice = DiceSolver(hpc=hpc)
    assets = build_sqd_assets(CURVE, **BUILT, in_process_below=0)[:3]
    result = materialize(instance, assets, resources={"dice": dice})
    found = metadata(result, "n2_result")
    assert found["jobs"] == len(found["job_table"].records) == 6
    assert found["all_jobs_node_hours"] == pytest.approx(
        sum(row.data["node_hours"] for row in found["job_table"].records)
    )
    assert found["node_hours_per_millihartree"] == pytest.approx(
        found["all_jobs_node_hours"] / (-1000 * found["correlation_energy"])
    )

    again = materialize(instance, assets, resources={"dice": dice})
    assert metadata(again, "n2_result")["iterations_resumed"] == 3
    assert len(hpc.jobs()) == 6
    anew = {"ops": {"n2_result": {"config": {"reuse": "never"}}}}
    fresh = materialize(instance, assets, resources={"dice": dice}, run_config=anew)
    assert metadata(fresh, "n2_result")["iterations_resumed"] == 0
    assert len(hpc.jobs()) == 12
    assert metadata(fresh, "n2_result")["energy"] == pytest.approx(found["energy"], abs=1e-8)


def test_a_quantum_job_is_paid_once(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step dies while the quantum computer works; the next attempt fetches that job."""
    runtime = pytest.importorskip("qiskit_ibm_runtime")
    pytest.importorskip("ffsim")
    from tests.quantum.service import Service

    for name in ("QiskitRuntimeService", "Sampler"):
        monkeypatch.setattr(runtime, name, None)  # and put back after the test
    service = Service(tmp_path / "service").install()
    asked = service.job

    def dies(job_id: str) -> Any:
        raise KeyboardInterrupt

    h2 = Molecule(geometry="H 0 0 0; H 0 0 0.74", basis="sto-3g")
    assets = build_sqd_assets(h2, name="h2", shots=50, source={"kind": "ibm"}, solver=None)[:2]
    monkeypatch.setattr(service, "job", dies)
    with pytest.raises((KeyboardInterrupt, dg.DagsterExecutionInterruptedError)):
        materialize(instance, assets, None)
    monkeypatch.setattr(service, "job", asked)
    found = metadata(materialize(instance, assets, None), "h2_samples")
    assert service.ids() == [found["quantum_job"]]
    assert (found["submitted_before"], found["backend"], found["shots"]) == (True, "ibm_miyazaki", 50)
    assert (found["quantum_s"], found["execution_s"], found["queue_wait_s"]) == (3.0, 5.5, 60.0)


def test_checks_say_what_to_think_of_it(instance: dg.DagsterInstance) -> None:
    result = materialize(instance, build_sqd_assets(CURVE, **BUILT, solver=None)[:3])
    made = {one.check_name: one for one in result.get_asset_check_evaluations()}
    value: SQDResult = result.output_for_node("n2_result")
    hamiltonian: Hamiltonian = result.output_for_node("n2_hamiltonian")
    assert hamiltonian.ccsd_energy is not None
    assert {name: one.passed for name, one in made.items()} == {
        "converged": value.converged,
        "recovery": True,
        "spin": value.spin_square is not None and value.spin_square < 0.1,
        "electrons": True,
        "below_reference": True,
        "below_ccsd": value.total_energy < hamiltonian.ccsd_energy,
    }
    assert "a singlet was meant" in str(made["spin"].metadata["finding"].value) or made["spin"].passed
    assert made["below_ccsd"].metadata["above_ccsd_mha"].value == pytest.approx(
        1000 * (value.total_energy - hamiltonian.ccsd_energy)
    )


def test_the_launchpad_shows_what_is_built(instance: dg.DagsterInstance) -> None:
    config = {"ops": {"n2_result": {"config": {"max_iterations": 1}}, "n2_samples": {"config": {"seed": 5}}}}
    result = materialize(instance, build_sqd_assets(CURVE, **BUILT, solver=None)[:3], run_config=config)
    found = metadata(result, "n2_result")
    assert (found["iterations"], found["seed"]) == (1, 5)
    assert len(found["convergence"].records[0].data["batches"].split(",")) == 2


def test_spin_policy_and_strings_from_the_launchpad(instance: dg.DagsterInstance) -> None:
    asked = {
        "spin_sq": 0.0, "policy": "trim", "trim_ratio": 0.5, "include_configurations": ["hf"], "max_dim": 5,
        "max_dim_beta": 4,
    }  # fmt: skip
    config = {"ops": {"n2_result": {"config": asked}}}
    result = materialize(instance, build_sqd_assets(CURVE, **BUILT, solver=None)[:3], run_config=config)
    value: SQDResult = result.output_for_node("n2_result")
    assert value.spin_sq == 0
    assert {one.rounds for one in value.iterations} == {2}
    assert all(one.subspaces[0] <= (5, 4) for one in value.iterations)
    assert metadata(result, "n2_result")["spin_square_wanted"] == 0


def test_samples_of_another_hamiltonian_fail_the_step(instance: dg.DagsterInstance) -> None:
    assets = build_sqd_assets(CURVE, **BUILT, solver=None)
    result = materialize(instance, assets[:2])
    samples: Samples = result.output_for_node("n2_samples")
    other = Hamiltonian.of(CURVE["1.5"])
    name = Path(instance.storage_directory(), "n2_samples", "1.1.npz")
    assert name.exists()
    name.write_bytes(to_bytes(replace(samples, hamiltonian=other.signature)))
    with pytest.raises(dg.Failure, match="belong to another Hamiltonian"):
        materialize(instance, assets[:3], selection=["n2_result"])


def test_one_molecule_has_no_partitions(instance: dg.DagsterInstance) -> None:
    assets = build_sqd_assets(CURVE["1.1"], **BUILT, solver=None)
    assert [asset.key.to_user_string() for asset in assets] == ["n2_hamiltonian", "n2_samples", "n2_result"]
    assert materialize(instance, assets, None).success


@pytest.mark.parametrize(
    ("molecule", "more", "words"),
    [
        (CURVE, {"sample_per_batch": 3}, "no option 'sample_per_batch'"),
        (lambda key: CURVE[key], {}, "needs partitions_def"),
        (CURVE["1.1"], {"partitions_def": dg.StaticPartitionsDefinition(["a"])}, "a molecule for each"),
    ],
)
def test_what_cannot_be_built_is_said(molecule: Any, more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        build_sqd_assets(molecule, **more)


def test_a_wrong_request_fails_the_step_with_its_sentence(instance: dg.DagsterInstance) -> None:
    config = {"ops": {"n2_result": {"config": {"reuse": "sometimes"}}}}
    with pytest.raises(dg.Failure, match="reuse is 'sometimes'"):
        materialize(instance, build_sqd_assets(CURVE, **BUILT, solver=None)[:3], run_config=config)


@pytest.fixture(scope="module")
def result() -> SQDResult:
    bits = np.random.default_rng(1).integers(2, size=(200, 12), dtype=bool)
    return run_sqd(CURVE["1.1"], bits, seed=1, samples_per_batch=6, max_iterations=2)


def test_values_come_back_as_they_were(result: SQDResult) -> None:
    back = from_bytes(to_bytes(result))
    assert result.sci_state is not None
    np.testing.assert_array_equal(back.sci_state.amplitudes, result.sci_state.amplitudes)
    assert back.energy == result.energy
    assert [one.rng_state for one in back.iterations] == [one.rng_state for one in result.iterations]
    assert [one.subspaces for one in back.iterations] == [one.subspaces for one in result.iterations]
    assert from_bytes(to_bytes(replace(result, sci_state=None))).sci_state is None

    hamiltonian = Hamiltonian.of(CURVE["1.1"])
    again = from_bytes(to_bytes(hamiltonian))
    assert again.molecule == hamiltonian.molecule
    assert again.fcidump == hamiltonian.fcidump
    np.testing.assert_array_equal(again.occupancies, hamiltonian.occupancies)

    assert [one.new_strings[0].tolist() for one in back.iterations] == [
        one.new_strings[0].tolist() for one in result.iterations
    ]

    samples = Samples(np.eye(3, 6, dtype=bool), 3, (1, 1), 7, {"kind": "uniform"})
    np.testing.assert_array_equal(from_bytes(to_bytes(samples)).bitstrings, samples.bitstrings)
    with pytest.raises(TypeError, match="not dict"):
        to_bytes({})


def test_an_iteration_of_version_0_1_is_read(result: SQDResult) -> None:
    """What was recorded later is unknown then."""
    row, arrays = iteration_record(result.iterations[0])
    for later in ("samples", "right_shots", "recovered", "made", "rounds", "in_process"):
        del row[later]
    kept = {name: part for name, part in arrays.items() if not name.startswith("new_strings")}
    back = iteration_of(row, kept)
    assert (back.samples, back.recovered, len(back.new_strings[0])) == (None, None, 0)
    assert back.energies == result.iterations[0].energies


def test_types_are_checked(result: SQDResult) -> None:
    def passes(kind: dg.DagsterType, value: Any) -> bool:
        return kind.type_check(None, value).success  # type: ignore[arg-type]

    assert passes(SQDResultType, result)
    assert not passes(SQDResultType, replace(result, energy=float("nan")))
    assert not passes(SQDResultType, {"energy": 1})
    assert passes(SamplesType, Samples(np.zeros((1, 6), bool), 3, (1, 1), 0, {}))
    assert not passes(SamplesType, Samples(np.zeros((1, 5), bool), 3, (1, 1), 0, {}))


def test_the_code_location_has_the_group_chemistry() -> None:
    from definitions import defs

    groups = {spec.key.to_user_string(): spec.group_name for spec in defs().resolve_all_asset_specs()}
    mine = {name for name, group in groups.items() if group == "chemistry"}
    assert mine == {"n2_hamiltonian", "n2_samples", "n2_result", "n2_curve", "dice_sweep", "dice_cost_model"}
    dg.Definitions.validate_loadable(defs())


@pytest.mark.parametrize("lacking", ["pyscf", "qiskit_addon_sqd"])
def test_the_code_location_loads_without_the_extras(lacking: str) -> None:
    code = f"""
import importlib.util as util
found = util.find_spec
util.find_spec = lambda name, *rest: None if name == {lacking!r} else found(name, *rest)
from definitions import defs
print({{spec.group_name for spec in defs().resolve_all_asset_specs()}} == {{"hello", "bitcount", "noise"}})
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert said.stdout.strip() == "True", said.stderr


def test_names_are_imported_when_they_are_used() -> None:
    code = """
import sys, dagster_hpc.sqd
assert "dagster" not in sys.modules
dagster_hpc.sqd.build_sqd_assets
heavy = {"pyscf", "qiskit", "jax", "matplotlib", "ffsim", "h5py", "scipy"}
print(sorted(heavy & set(sys.modules)))
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert said.stdout.strip() == "[]", said.stdout + said.stderr


def test_the_demos_chemistry_and_its_sweep(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bond length, four jobs of the sweep and the model of them, as the code location has them."""
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    monkeypatch.setenv("DAGSTER_HPC_WORK_ROOT", str(tmp_path / "work"))
    from definitions import defs

    made = defs()

    def run(names: list[str], partition: str | dg.MultiPartitionKey | None) -> dg.ExecuteInProcessResult:
        job = made.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            QUIET, instance=instance, partition_key=partition, asset_selection=[dg.AssetKey(name) for name in names]
        )

    chemistry = run(["n2_hamiltonian", "n2_samples", "n2_result"], "1.1")
    assert metadata(chemistry, "n2_result")["correlation_energy"] < -0.03

    for dimension in ("400", "2500"):
        key = dg.MultiPartitionKey({"dimension": dimension, "layout": "1x1"})
        assert metadata(run(["dice_sweep"], key), "dice_sweep")["determinants"] == int(dimension)
    model = metadata(run(["dice_cost_model"], None), "dice_cost_model")
    assert model["jobs"] == 2
    assert "1 node(s) with" in model["recommendation"]
    assert "too few jobs to test it" in model["time_model"]
    assert model["extrapolated"] is True


@pytest.mark.needs("slurm")
def test_the_demos_chemistry_on_slurm_with_ranks(
    instance: dg.DagsterInstance, tmp_path: Path, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    for name, value in {
        "TARGET": "slurm",
        "QUEUE": "cpu",
        "PROJECT": slurm.account,
        "WORK_ROOT": str(tmp_path),
    }.items():
        monkeypatch.setenv(f"DAGSTER_HPC_{name}", value)
    from definitions import defs

    job = defs().resolve_implicit_global_asset_job_def()

    def run(names: list[str], partition: str | dg.MultiPartitionKey) -> dg.ExecuteInProcessResult:
        keys = [dg.AssetKey(name) for name in names]
        return job.execute_in_process(QUIET, instance=instance, partition_key=partition, asset_selection=keys)

    found = metadata(run(["n2_hamiltonian", "n2_samples", "n2_result"], "1.1"), "n2_result")
    assert {row.data["nodes"] for row in found["job_table"].records} == {1}
    assert all(row.data["cores"] >= 4 for row in found["job_table"].records)
    assert found["node_hours_per_millihartree"] > 0
    sweep = run(["dice_sweep"], dg.MultiPartitionKey({"dimension": "400", "layout": "2x2"}))
    assert (metadata(sweep, "dice_sweep")["nodes"], metadata(sweep, "dice_sweep")["determinants"]) == (2, 400)
