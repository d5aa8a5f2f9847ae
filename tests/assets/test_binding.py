"""What an asset shows once its runner is known: the kind of the scheduler, a code version, the names of the profiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import Field

from dagster_hpc import (
    Command,
    ExecutionProfile,
    HPCAsset,
    HPCJobConfig,
    HPCJobRunner,
    JobResult,
    LocalTarget,
    SlurmTarget,
    hpc_asset,
    hpc_asset_check,
    hpc_multi_asset,
)
from dagster_hpc.assets.binding import shown_fields, source_of
from tests.assets.steps import failure_of, materialize, metadata_of

SMALL = {"small": ExecutionProfile(walltime="00:05:00"), "wide": ExecutionProfile(mpiprocs=2)}


@hpc_asset(profile="small")
def hello() -> Command:
    return Command.shell("echo hello")


@hpc_asset_check(asset="hello", profile="small")
def greets() -> Command:
    return Command.shell("true")


def runner(**more: Any) -> HPCJobRunner:
    return HPCJobRunner(**{"target": SlurmTarget(), "profiles": SMALL, "work_root": "/nowhere", **more})


def spec_with(resource: Any, asset: HPCAsset = hello, **others: Any) -> dg.AssetSpec:
    """As the UI shows it."""
    defs = dg.Definitions(assets=[asset], resources={"hpc": resource, **others})
    return next(iter(defs.resolve_asset_graph().get(asset.key).assets_def.specs))


def config_of(resource: Any, *definitions: Any, op: str = "hello") -> dict[str, dg.Field]:
    """The launchpad's fields of this op."""
    checks = [one for one in definitions if isinstance(one, dg.AssetChecksDefinition)]
    assets = [one for one in definitions if one not in checks] or [hello]
    defs = dg.Definitions(assets=assets, asset_checks=checks, resources={"hpc": resource})
    node = defs.resolve_implicit_global_asset_job_def().graph.node_named(op)
    assert isinstance(node.definition, dg.OpDefinition)
    return dict(node.definition.config_schema.as_field().config_type.fields)


def choices(field: dg.Field) -> list[str]:
    return [value.config_value for value in field.config_type.inner_type.enum_values]  # type: ignore[attr-defined]


class Elsewhere(SlurmTarget):
    """A site's own, with a field that has no default."""

    site: str


@pytest.mark.parametrize(("target", "kind"), [(SlurmTarget(), "slurm"), (LocalTarget(), "local")])
def test_the_kind_of_the_scheduler_is_among_the_kinds(target: Any, kind: str) -> None:
    assert spec_with(runner(target=target)).kinds == {"hpc", kind}


def test_where_the_runner_is_known_at_launch_only_nothing_is_shown_of_it() -> None:
    spec = spec_with(HPCJobRunner.configure_at_launch())
    assert (spec.kinds, spec.code_version) == ({"hpc"}, None)


def test_a_target_that_is_configured_at_launch_is_shown_as_it_is_when_nobody_changes_it() -> None:
    target = SlurmTarget.configure_at_launch(queue_cpu="short")
    spec = spec_with(runner(target=target), target=target)
    assert spec.kinds == {"hpc", "slurm"}
    assert spec.code_version is not None
    assert spec.code_version == spec_with(runner(target=SlurmTarget())).code_version


def test_where_a_field_of_the_target_has_no_value_before_the_launch_nothing_is_shown_of_it() -> None:
    target = Elsewhere.configure_at_launch()
    spec = spec_with(runner(target=target), target=target)
    assert (spec.kinds, spec.code_version) == ({"hpc"}, None)


def test_a_target_whose_variables_are_set_only_where_runs_are_can_be_loaded_here() -> None:
    spec = spec_with(runner(target=LocalTarget(memory=dg.EnvVar("SET_ELSEWHERE"))))
    assert (spec.kinds, spec.code_version) == ({"hpc"}, None)


def test_a_runner_among_the_resources_of_the_asset_itself_is_known_too() -> None:
    @hpc_asset(profile="small", resource_defs={"hpc": runner()})
    def own() -> Command:
        return Command("count")

    assert own.get_asset_spec().kinds == {"hpc", "slurm"}


def made(script: str) -> HPCAsset:
    namespace: dict[str, Any] = {"hpc_asset": hpc_asset, "Command": Command}
    exec(f"@hpc_asset(profile='small')\ndef hello() -> Command:\n    return Command.shell({script!r})", namespace)
    asset = namespace["hello"]
    assert isinstance(asset, HPCAsset)
    return asset


def test_the_code_version_is_the_same_for_the_same_code() -> None:
    version = spec_with(runner()).code_version
    assert version is not None
    assert (len(version), spec_with(runner()).code_version) == (12, version)


def test_a_changed_function_is_another_code_version() -> None:
    versions = {spec_with(runner(), made(script)).code_version for script in ("echo a", "echo b", "echo a")}
    assert len(versions) == 2


def test_a_changed_profile_is_another_code_version_and_where_the_jobs_directories_lie_is_not() -> None:
    longer = {"small": ExecutionProfile(walltime="01:00:00")}
    other = {**SMALL, "wide": ExecutionProfile(mpiprocs=4)}  # a profile that this asset does not name
    before = spec_with(runner()).code_version
    assert spec_with(runner(profiles=longer)).code_version != before
    assert spec_with(runner(profiles=other)).code_version == before
    assert spec_with(runner(work_root="/elsewhere")).code_version == before


def test_a_changed_template_is_another_code_version(tmp_path: Path) -> None:
    template = tmp_path / "site.sh.j2"

    def version(text: str) -> str | None:
        template.write_text(text)
        return spec_with(runner(target=SlurmTarget(template=str(template)))).code_version

    extended = '{% extends "packaged/slurm.sh.j2" %}'
    (tmp_path / "more.j2").write_text("module load a")
    versions = [version(extended), version(extended + "\n# ours\n"), version('{% include "more.j2" %}')]
    (tmp_path / "more.j2").write_text("module load b")
    versions.append(version('{% include "more.j2" %}'))
    assert len({*versions, spec_with(runner()).code_version}) == 5


def test_a_changed_collect_is_another_code_version() -> None:
    def version(collect: Callable[[JobResult], Any] | None) -> str | None:
        asset = made("echo a")
        if collect:
            asset.collect(collect)
        return spec_with(runner(), asset).code_version

    def one(result: JobResult) -> int:
        return 1

    def two(result: JobResult) -> int:
        return 2

    assert len({version(None), version(one), version(two)}) == 3


def test_the_version_of_a_variable_is_its_name_and_not_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str, value: str) -> str | None:
        monkeypatch.setenv(name, value)
        profile = ExecutionProfile(environments={"TOKEN": dg.EnvVar(name)})
        return spec_with(runner(profiles={"small": profile})).code_version

    assert version("SECRET_A", "one") == version("SECRET_A", "two")
    assert version("SECRET_B", "one") != version("SECRET_A", "one")


def test_a_secret_value_is_no_part_of_the_version() -> None:
    def fields(value: str) -> dict[str, Any]:
        return shown_fields(ExecutionProfile(environments={"TOKEN": value, "N": "1"}, secret_environments=["TOKEN"]))

    assert fields("hunter2") == fields("hunter3")
    assert fields("hunter2")["environments"] == {"TOKEN": "", "N": "1"}


def test_the_code_version_of_the_author_stays() -> None:
    @hpc_asset(profile="small", code_version="mine")
    def own() -> Command:
        return Command("count")

    assert spec_with(runner(), own).code_version == "mine"


def test_code_typed_at_a_prompt_has_a_version_too() -> None:
    def compiled(text: str) -> str:
        namespace: dict[str, Any] = {}
        exec(text, namespace)
        return source_of(namespace["body"])

    nested = "def body():\n    return [one for one in range({})]"
    assert compiled(nested.format(1)) == compiled(nested.format(1))
    assert compiled(nested.format(1)) != compiled(nested.format(2))
    assert source_of(len) == "len"


def test_a_changed_profile_shows_as_stale(hpc: HPCJobRunner) -> None:
    instance = dg.DagsterInstance.ephemeral()
    result = materialize([hello], hpc, instance=instance)
    (event,) = result.asset_materializations_for_node("hello")
    assert event.tags is not None
    assert event.tags["dagster/code_version"] == spec_with(hpc).code_version


def test_the_launchpad_offers_the_names_of_the_profiles_and_the_rules_of_reuse() -> None:
    fields = config_of(runner())
    assert choices(fields["profile"]) == ["small", "wide"]
    assert choices(fields["reuse"]) == ["running", "succeeded", "never"]


def test_the_launchpad_shows_what_the_profiles_are_for() -> None:
    described = {"small": ExecutionProfile(description="For a try."), "wide": ExecutionProfile()}
    field = config_of(runner(profiles=described))["profile"]

    assert field.description == "Another execution profile of the runner.\nsmall: For a try."
    (small, wide) = field.config_type.inner_type.enum_values  # type: ignore[attr-defined]
    assert (small.description, wide.description) == ("For a try.", None)


def test_what_a_profile_is_for_makes_no_other_code_version() -> None:
    described = {"small": SMALL["small"].model_copy(update={"description": "For a try."})}
    assert spec_with(runner(profiles=described)).code_version == spec_with(runner()).code_version


def test_a_check_and_a_multi_asset_offer_them_too() -> None:
    @hpc_multi_asset(profile="small", specs=["a", "b"])
    def both() -> Command:
        return Command("count")

    assert choices(config_of(runner(), hello, greets, op="hello_greets")["profile"]) == ["small", "wide"]
    assert choices(config_of(runner(), both, op="both")["profile"]) == ["small", "wide"]


@pytest.mark.parametrize("target", [hello, [hello], "hello"])
def test_a_schedule_may_target_the_asset_as_it_was_made(target: Any) -> None:
    hpc = HPCJobRunner(target=LocalTarget(), profiles=SMALL, work_root="jobs")
    schedule = dg.ScheduleDefinition(name="nightly", target=target, cron_schedule="0 1 * * *")
    definitions = dg.Definitions(assets=[hello], schedules=[schedule], resources={"hpc": hpc})
    dg.Definitions.validate_loadable(definitions)


def test_a_schedule_may_not_target_another_asset_of_the_same_name() -> None:
    @hpc_asset(profile="small", name="hello")
    def other() -> Command:
        return Command.shell("echo other")

    hpc = HPCJobRunner(target=LocalTarget(), profiles=SMALL, work_root="jobs")
    schedule = dg.ScheduleDefinition(name="nightly", target=other, cron_schedule="0 1 * * *")
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="different asset"):
        dg.Definitions.validate_loadable(
            dg.Definitions(assets=[hello], schedules=[schedule], resources={"hpc": hpc})
        )


def test_where_the_runner_is_configured_at_launch_the_profile_is_a_plain_text() -> None:
    field = config_of(HPCJobRunner.configure_at_launch())["profile"]
    assert not isinstance(field.config_type.inner_type, dg.Enum)  # type: ignore[attr-defined]


def test_every_field_of_the_launchpad_has_a_description() -> None:
    fields = config_of(runner())
    inner = fields["overrides"].config_type.fields  # type: ignore[attr-defined]
    without = [name for name, field in {**fields, **inner}.items() if not field.description]
    assert (without, "walltime" in inner) == ([], True)


class CountConfig(HPCJobConfig):
    times: int = Field(description="How often.")


@hpc_asset(profile="small")
def counted(config: CountConfig) -> Command:
    return Command.shell("echo times $1", args=[str(config.times)])


def test_a_config_class_of_ones_own_keeps_its_fields(hpc: HPCJobRunner) -> None:
    fields = config_of(runner(), counted, op="counted")
    assert fields["times"].is_required
    assert fields["times"].description == "How often."
    config = {"ops": {"counted": {"config": {"times": 3, "profile": "small"}}}}
    result = materialize([counted], hpc, run_config=config)
    assert "times 3" in metadata_of(result, "counted")["stdout_tail"]


def test_profile_and_reuse_may_be_given_from_python(hpc: HPCJobRunner) -> None:
    config = dg.RunConfig(ops={"counted": CountConfig(times=2, profile="small", reuse="never")})  # type: ignore[arg-type]
    instance = dg.DagsterInstance.ephemeral()
    assert materialize([counted], hpc, instance=instance, run_config=config).success
    result = materialize([counted], hpc, instance=instance, run_config=config)
    assert "times 2" in metadata_of(result, "counted")["stdout_tail"]
    assert len(hpc.jobs()) == 2


def test_a_profile_that_the_runner_does_not_have_is_told_by_the_step(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="smal")
    def mistyped() -> Command:
        return Command("count")

    words = failure_of(materialize([mistyped], hpc), "mistyped")
    assert "there is no execution profile 'smal': did you mean 'small'?" in words
