"""Dice in Dagster's graph: values, checks, metadata and types, on this machine and on Slurm."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the assets.

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from dagster_hpc import ExecutionProfile, HPCJobConfig, HPCJobRunner, JobState, LocalTarget, MiyabiTarget, SlurmTarget
from dagster_hpc.dice import (
    DiceProblem,
    DiceResult,
    DiceResultType,
    DiceSolver,
    SCIResultIOManager,
    SCIResultType,
    build_dice_asset,
    create_dice_resources,
    read_dice_outputs,
)
from dagster_hpc.dice.validation import NAMES
from tests.dice.golden import case
from tests.dice.test_solver import local_runner, problem, replay, solver
from tests.systems.slurm import SlurmCluster

hpc = pytest.fixture(local_runner, name="hpc")

GEOMETRY = {
    "H2": "H 0 0 0; H 0 0 0.74",
    "LiH": "Li 0 0 0; H 0 0 1.6",
    "H2O": "O 0 0 0.1173; H 0 0.7572 -0.4692; H 0 -0.7572 -0.4692",
    "N2": "N 0 0 0; N 0 0 1.0977",
}


@lru_cache
def molecule(name: str) -> tuple[DiceProblem, float]:
    """The full space in STO-3G, and PySCF's answer."""
    from pyscf import ao2mo, fci, gto, scf

    mol = gto.M(atom=GEOMETRY[name], basis="sto-3g", verbose=0)
    field = scf.RHF(mol).run()
    orbitals = field.mo_coeff
    one_body = orbitals.T @ field.get_hcore() @ orbitals
    two_body = ao2mo.restore(1, ao2mo.kernel(mol, orbitals), len(one_body))
    asked = DiceProblem.full_space(
        one_body, two_body, len(one_body), mol.nelec, core_energy=mol.energy_nuc(), hf_energy=field.e_tot
    )
    energy = fci.direct_spin1.kernel(one_body, two_body, len(one_body), mol.nelec, conv_tol=1e-13)[0]
    return asked, energy + mol.energy_nuc()


def full_space_asset(name: str) -> dg.AssetsDefinition:
    return build_dice_asset(lambda: molecule(name)[0], name=name, io_manager_key="sci")


def materialized(
    asset: dg.AssetsDefinition, dice: DiceSolver, tmp_path: Path, **options: Any
) -> dg.ExecuteInProcessResult:
    resources = {"dice": dice, "sci": SCIResultIOManager(base_dir=str(tmp_path / "results"))}
    return dg.materialize([asset], resources=resources, raise_on_error=False, **options)


def metadata(result: dg.ExecuteInProcessResult, key: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(key)
    return {name: value.value for name, value in event.metadata.items()}


# -- values


@pytest.mark.parametrize("name", GEOMETRY)
def test_a_full_space_is_full_ci(hpc: HPCJobRunner, tmp_path: Path, name: str) -> None:
    done = materialized(full_space_asset(name), DiceSolver(hpc=hpc), tmp_path)

    assert done.success
    assert done.output_for_node(name).energy == pytest.approx(molecule(name)[1], abs=1e-8)
    assert (tmp_path / "results" / f"{name}.h5").is_file()
    made = {one.check_name for one in done.get_asset_check_evaluations() if one.metadata["made"].value}
    whole = {"rdm_elements", "expectation", "residual"} <= made
    unmade = {"sampled_residual"} if whole else {"rdm_elements", "expectation", "residual"}  # of N2's 14400 determinants
    assert set(NAMES) - made == {"parent_bound", *unmade}  # no parent was given


@pytest.mark.needs("slurm")
def test_the_same_on_slurm(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    runner = HPCJobRunner(
        target=SlurmTarget(queue_cpu="cpu", project_cpu=slurm.account, poll_interval=0.5),
        profiles={
            "dice-mpi": ExecutionProfile(memory_per_node="1G"),
            "ranks": ExecutionProfile(memory_per_node="1G", mpiprocs=2, launcher="srun"),
        },
        work_root=str(tmp_path / "jobs"),
        ledger_url=f"sqlite:///{tmp_path}/ledger.db",
    )
    for name in ("H2", "LiH", "N2"):
        there = materialized(full_space_asset(name), DiceSolver(hpc=runner), tmp_path)
        assert there.output_for_node(name).energy == pytest.approx(molecule(name)[1], abs=1e-8)
    asked, energy = molecule("H2O")
    asset = build_dice_asset(lambda: asked, name="h2o", io_manager_key="sci")

    done = materialized(asset, DiceSolver(hpc=runner), tmp_path)
    strings = asked.ci_strings
    batch = DiceSolver(hpc=runner, profile="ranks").solve_batch(
        [strings, (strings[0][:3], strings[1])], asked.one_body_tensor, asked.two_body_tensor, asked.norb, asked.nelec
    )

    assert done.output_for_node("h2o").energy == pytest.approx(energy, abs=1e-8)
    assert metadata(done, "h2o")["scheduler"] == "slurm"
    assert metadata(done, "h2o")["node_hours"] is not None
    assert batch[0].energy + asked.core_energy == pytest.approx(energy, abs=1e-8)


def test_problems_come_from_upstream_and_of_partitions(hpc: HPCJobRunner, tmp_path: Path) -> None:
    sizes = dg.StaticPartitionsDefinition(["1", "2"])

    @dg.asset(partitions_def=sizes)
    def count(context: dg.AssetExecutionContext) -> int:
        return int(context.partition_key)

    def subspace(context: dg.AssetExecutionContext, count: int) -> DiceProblem:
        """Strings of H2."""
        return replace(molecule("H2")[0], ci_strings=([1, 2][:count], [1, 2][:count]))

    asset = build_dice_asset(subspace, key_prefix="h2", partitions_def=sizes, group_name="chemistry")
    dice = DiceSolver(hpc=hpc)
    resources = {"dice": dice}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for key in ("1", "2"):
            assert dg.materialize([count, asset], partition_key=key, resources=resources, instance=instance).success
        loaded = [
            dg.Definitions(assets=[count, asset], resources=resources).load_asset_value(
                ["h2", "subspace"], instance=instance, partition_key=key
            )
            for key in ("1", "2")
        ]
    assert [result.dimension for result in loaded] == [1, 4]
    assert asset.descriptions_by_key[asset.key] == "Strings of H2."


def test_the_launchpad_chooses_profile_and_overrides(hpc: HPCJobRunner, tmp_path: Path) -> None:
    asset = build_dice_asset(lambda: molecule("H2")[0], name="h2", io_manager_key="sci")
    config = HPCJobConfig(overrides={"walltime": "00:01:11"})  # type: ignore[arg-type]
    done = materialized(asset, DiceSolver(hpc=hpc), tmp_path, run_config=dg.RunConfig({"h2": config}))
    assert "--time=71" in metadata(done, "h2")["script"]


def test_what_is_no_problem_is_refused(hpc: HPCJobRunner, tmp_path: Path) -> None:
    asset = build_dice_asset(lambda: 5, name="five", io_manager_key="sci")  # type: ignore[arg-type,return-value]
    done = materialized(asset, DiceSolver(hpc=hpc), tmp_path)
    assert "must return a DiceProblem" in (done.failure_data_for_node("five").user_failure_data.description or "")


# -- checks


def test_each_question_is_a_check_of_the_asset(hpc: HPCJobRunner, tmp_path: Path) -> None:
    asset = build_dice_asset(lambda: molecule("H2")[0], name="h2", io_manager_key="sci")
    assert {spec.name for spec in asset.check_specs} == set(NAMES)
    assert all(spec.blocking and spec.description for spec in asset.check_specs)

    done = materialized(asset, DiceSolver(hpc=hpc), tmp_path)

    checks = {check.check_name: check for check in done.get_asset_check_evaluations()}
    assert set(checks) == set(NAMES)
    assert all(check.passed for check in checks.values())
    assert checks["norm"].metadata["made"].value is True
    assert checks["norm"].metadata["value"].value < 1e-8
    assert checks["parent_bound"].metadata["made"].value is False
    assert "not made" in checks["parent_bound"].description


def test_a_failed_check_fails_the_asset_and_is_shown(hpc: HPCJobRunner, tmp_path: Path) -> None:
    name = "_corrupt/shm_collision_lih"
    strings, one_body, two_body, norb, nelec = problem(name)
    asset = build_dice_asset(
        lambda: DiceProblem(strings, one_body, two_body, norb, nelec), name="lih", io_manager_key="sci"
    )
    ran: list[Any] = []

    @dg.asset(deps=[asset])
    def after() -> None:
        ran.append(1)

    dice = solver(hpc, tmp_path, f"{replay(name)}; exit 0", max_retries=0, fallback=False)
    resources = {"dice": dice, "sci": SCIResultIOManager(base_dir=str(tmp_path / "results"))}
    done = dg.materialize([asset, after], resources=resources, raise_on_error=False)

    assert not done.success
    assert not done.asset_materializations_for_node("lih")
    assert "norm" in [check.check_name for check in done.get_asset_check_evaluations() if not check.passed]
    failure = done.failure_data_for_node("lih").user_failure_data
    assert "norm: the squared coefficients sum up to 172" in failure.description
    assert failure.metadata["checks"].value["norm"] is False
    assert (ran, (tmp_path / "results").exists()) == ([], False)


def test_a_stopped_job_fails_the_asset_with_its_metadata(hpc: HPCJobRunner, tmp_path: Path) -> None:
    asset = build_dice_asset(lambda: molecule("LiH")[0], name="lih", io_manager_key="sci", overrides={"walltime": "1"})
    done = materialized(asset, solver(hpc, tmp_path, "sleep 60"), tmp_path)
    failure = done.failure_data_for_node("lih").user_failure_data
    assert failure.metadata["state"].value == JobState.TIMEOUT.value


# -- metadata


def test_the_metadata_tell_the_chemistry_and_the_cost(hpc: HPCJobRunner, tmp_path: Path) -> None:
    asked, energy = molecule("LiH")
    done = materialized(
        build_dice_asset(lambda: asked, name="lih", io_manager_key="sci"), DiceSolver(hpc=hpc), tmp_path
    )
    told = metadata(done, "lih")

    assert told["energy"] == pytest.approx(energy, abs=1e-8)
    assert told["energy_without_core"] == pytest.approx(energy - asked.core_energy, abs=1e-8)
    assert told["correlation_energy"] == pytest.approx(energy - (asked.hf_energy or 0), abs=1e-8)
    assert (told["norb"], told["nelec"], told["solver"], told["jobs"]) == (6, [2, 2], "embedded", 1)
    assert 1 <= told["determinants"] <= 225
    assert told["spin_square"] == pytest.approx(0, abs=1e-6)
    assert sum(told["occupancies_alpha"]) == pytest.approx(2, abs=1e-6)
    first = told["leading_determinants"].records[0].data
    assert first["orbitals"] == "220000"
    assert first["weight"] == pytest.approx(first["coefficient"] ** 2)
    assert told["state"] == "COMPLETED"
    assert told["all_jobs_node_hours"] == pytest.approx(told["node_hours"])
    assert told["checks"]["norm"] is True


def test_a_retry_is_in_the_metadata(hpc: HPCJobRunner, tmp_path: Path) -> None:
    strings, one_body, two_body, norb, nelec = problem("lih_sto3g")
    script = f"if [ ! -e {tmp_path}/once ]; then touch {tmp_path}/once; exit 139; fi; {replay('lih_sto3g')}; exit 1"
    asset = build_dice_asset(
        lambda: DiceProblem(strings, one_body, two_body, norb, nelec), name="lih", io_manager_key="sci"
    )
    done = materialized(asset, solver(hpc, tmp_path, script), tmp_path)
    told = metadata(done, "lih")
    assert (told["solver"], told["jobs"]) == ("dice", 2)
    assert "139" in told["problems"]


# -- types


def good() -> DiceResult:
    one = case("h2o_sto3g")
    return read_dice_outputs(one.folder, norb=one.norb, nelec=one.nelec, stdout=one.stdout)


def checked(kind: dg.DagsterType, value: object) -> str:
    """What the type check says; nothing if it passes."""
    answer = dg.check_dagster_type(kind, value)
    return "" if answer.success else answer.description or "failed"


def test_good_values_are_of_their_type() -> None:
    assert checked(DiceResultType, good()) == ""
    assert checked(SCIResultType, good().sci_result()) == ""
    assert checked(SCIResultType, good().sci_result(return_sci_state=False)) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"energy": float("nan")}, "energy is nan"),
        ({"norb": 8}, r"shape \(7,\) instead of \(8,\)"),
        ({"nelec": (5, 4)}, "beta occupancies sum up to 5.0"),
        ({"state": replace(good().state, coefficients=2 * good().coefficients)}, "sum up to 4 instead of 1"),
        ({"checks": (replace(good().checks[0], passed=False),)}, "check files failed"),
    ],
)
def test_wrong_dice_results_are_not(change: dict[str, Any], words: str) -> None:
    import re

    assert re.search(words, checked(DiceResultType, replace(good(), **change)))


def test_wrong_sci_results_are_not() -> None:
    right = good().sci_result()
    zero = replace(right, sci_state=replace(right.sci_state, amplitudes=0 * right.sci_state.amplitudes))
    assert "instead of 1" in checked(SCIResultType, zero)
    assert "energy is inf" in checked(SCIResultType, replace(right, energy=np.inf))
    assert "neither a state nor" in checked(SCIResultType, replace(right, sci_state=None))
    assert "not DiceResult" in checked(SCIResultType, good())
    assert "not int" in checked(DiceResultType, 5)
    assert "not SCIResult" in checked(DiceResultType, right)


def test_an_asset_of_a_type_refuses_wrong_values() -> None:
    @dg.asset(dagster_type=SCIResultType, io_manager_def=dg.mem_io_manager)
    def wrong() -> Any:
        return 5

    assert not dg.materialize([wrong], raise_on_error=False).success


# -- resources


def test_the_seeds_blocks_as_resources() -> None:
    made = create_dice_resources(
        hpc_target="miyabi", project="gz00", queue="regular-c", root_dir="/scratch/dice",
        dice_executable="/apps/Dice", mpiprocs=16, modules=["openmpi"], select_cutoff=1e-3, davidson_tol=1e-5,
    )  # fmt: skip
    dice, runner = made["dice"], made["hpc"]
    assert isinstance(runner.target, MiyabiTarget)
    assert runner.target.executable("dice_solver") == "/apps/Dice"
    profile = runner.profiles["dice-mpi"]
    assert (profile.launcher, profile.mpiprocs, profile.walltime) == ("mpirun", 16, "01:00:00")
    assert (dice.select_cutoff, dice.davidson_tol, dice.energy_tol, dice.max_iter) == (1e-3, 1e-5, 1e-10, 10)
    assert dice.return_sci_state


@pytest.mark.parametrize(
    ("kind", "launcher"),
    [("slurm", "srun"), ("fugaku", "mpiexec"), ("pbs", "mpirun"), ("flux", "flux"), ("local", "mpirun")],
)
def test_every_target_has_its_launcher(kind: str, launcher: str) -> None:
    made = create_dice_resources(hpc_target=kind, root_dir="/r", project="p", dice_executable="/apps/Dice")
    assert made["hpc"].profiles["dice-mpi"].launcher == launcher
    alone = create_dice_resources(hpc_target=kind, root_dir="/r", project="p")
    assert alone["hpc"].profiles["dice-mpi"].launcher == "single"
    assert alone["dice"].executable is None


def test_they_work_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    target = LocalTarget(spool=str(tmp_path / "spool"), poll_interval=0.3)
    made = create_dice_resources(
        hpc_target=target, root_dir=str(tmp_path / "jobs"), results_dir=str(tmp_path / "results"),
        ledger_url=f"sqlite:///{tmp_path}/l.db",
    )  # fmt: skip
    asset = build_dice_asset(lambda: molecule("H2")[0], name="h2", io_manager_key="sci_result_io")
    defs = dg.Definitions(assets=[asset], resources=made)
    done = defs.resolve_implicit_global_asset_job_def().execute_in_process()
    assert done.success
    assert (tmp_path / "results" / "h2.h5").is_file()
