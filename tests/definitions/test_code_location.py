"""The code location loads, is found without flags, and its launchpad reaches target, profile and overrides."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import ConfigurationError
from definitions import defs
from definitions.targets import resources
from tests.definitions.dagster_home import DagsterHome

CHEMISTRY = {"n2_hamiltonian", "n2_samples", "n2_result", "n2_curve", "dice_sweep", "dice_cost_model"}
ASSETS = {
    "hello", "overnight", "samples", "bit_counts", "histogram", "noise_sweep", "noise_curve", *CHEMISTRY
}  # fmt: skip


def test_definitions_are_whole() -> None:
    dg.Definitions.validate_loadable(defs())


def test_every_asset_says_what_it_is() -> None:
    specs = {spec.key.to_user_string(): spec for spec in defs().resolve_all_asset_specs()}
    assert set(specs) == ASSETS
    for spec in specs.values():
        assert spec.description
        assert spec.owners
        assert spec.kinds
        assert spec.group_name in ("hello", "bitcount", "noise", "chemistry")


def test_automation_is_off_until_somebody_turns_it_on() -> None:
    repository = defs().get_repository_def()
    assert {one.default_status.value for one in repository.schedule_defs} == {"STOPPED"}
    assert {one.default_status.value for one in repository.sensor_defs} == {"STOPPED"}


def test_dagster_finds_the_code_location_without_flags(home: DagsterHome) -> None:
    assert "All code locations passed validation" in home.run("dagster", "definitions", "validate")


def test_dg_finds_the_code_location_without_flags(home: DagsterHome) -> None:
    said = home.run("dg", "list", "defs", "--json")
    listed = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert {asset["asset_key"] for asset in listed["assets"]} == ASSETS


def test_an_unknown_target_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(
        ConfigurationError, match=r"DAGSTER_HPC_TARGET: there is no target 'slrum': did you mean 'slurm'"
    ):
        resources({"DAGSTER_HPC_TARGET": "slrum"})


def test_queue_and_project_come_from_the_environment() -> None:
    given = {"DAGSTER_HPC_TARGET": "slurm", "DAGSTER_HPC_QUEUE": "regular", "DAGSTER_HPC_PROJECT": "ab12"}
    target = resources(given)["hpc_target"].resource_cls(**resources(given)["hpc_target"].data)
    assert (target.route("cpu").queue, target.route("cpu").project) == ("regular", "ab12")


def test_the_launchpad_changes_target_profile_and_overrides(home: DagsterHome) -> None:
    config: dict[str, Any] = {
        "resources": {"hpc_target": {"config": {"name": "my-machine"}}},
        "ops": {"hello": {"config": {"who": "launchpad", "profile": "roomy", "overrides": {"walltime": "00:02:03"}}}},
    }
    job = defs().resolve_implicit_global_asset_job_def()
    with home.instance() as instance:
        result = job.execute_in_process(config, instance=instance, asset_selection=[dg.AssetKey("hello")])
    metadata = result.asset_materializations_for_node("hello")[0].metadata
    assert metadata["target"].value == "my-machine"
    assert "Hello, launchpad, from" in str(metadata["stdout_tail"].value)
    script = str(metadata["script"].value)
    assert "--cores=2" in script  # of the profile `roomy`
    assert "--memory=2048" in script
    assert "--time=123" in script


def test_a_misspelt_override_never_reaches_the_launch(home: DagsterHome) -> None:
    config = {"ops": {"hello": {"config": {"overrides": {"wall_time": "00:02:03"}}}}}
    job = defs().resolve_implicit_global_asset_job_def()
    with home.instance() as instance, pytest.raises(dg.DagsterInvalidConfigError, match="wall_time"):
        job.execute_in_process(config, instance=instance, asset_selection=[dg.AssetKey("hello")])
