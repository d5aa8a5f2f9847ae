"""Values given as EnvVar, and passwords in profiles: where they may stand and where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget, SlurmTarget, hpc_asset
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.resources.env_vars import env_value, with_env_values
from dagster_hpc.resources.resolve import resolve
from dagster_hpc.shown_text import masked

SHOW = Command.shell('[ "$TOKEN" = "$EXPECTED" ] && echo as expected')


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    monkeypatch.setenv("MY_QUEUE", "regular")


def profile(**more: Any) -> ExecutionProfile:
    return ExecutionProfile(environments={"TOKEN": dg.EnvVar("MY_SECRET"), "EXPECTED": "hunter2"}, **more)


def test_a_secret_reaches_the_program_in_a_plain_script(hpc: HPCJobRunner) -> None:
    # the program got the name of the variable for its value
    result = hpc.run(SHOW, profile=profile())
    assert result.stdout_tail == "as expected"


def test_a_secret_stands_only_in_a_file_of_its_own(hpc: HPCJobRunner) -> None:
    quiet = HPCJobRunner(
        target=hpc.target, work_root=hpc.work_root, ledger_url=hpc.ledger_url,
        profiles={"s": ExecutionProfile(environments={"TOKEN": dg.EnvVar("MY_SECRET")})},
    )  # fmt: skip

    @hpc_asset(profile="s")
    def fetched() -> Command:
        return Command("/bin/true")

    done = dg.materialize([fetched], resources={"hpc": quiet})
    metadata = done.asset_materializations_for_node("fetched")[0].metadata
    assert "hunter2" not in str({name: value.value for name, value in metadata.items()})
    holders = [path for path in Path(hpc.work_root).rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert [path.name for path in holders] == ["environment"]
    assert holders[0].stat().st_mode & 0o777 == 0o600


def test_a_job_that_prints_its_secret_shows_it_nowhere(hpc: HPCJobRunner, capfd: pytest.CaptureFixture[str]) -> None:
    loud = HPCJobRunner(
        target=hpc.target, work_root=hpc.work_root, ledger_url=hpc.ledger_url,
        profiles={"s": ExecutionProfile(environments={"TOKEN": dg.EnvVar("MY_SECRET")})},
    )  # fmt: skip

    @hpc_asset(profile="s")
    def debugging() -> Command:
        return Command.shell('set -x; echo "it is $TOKEN"; exit 3')

    with dg.instance_for_test() as instance:
        done = dg.materialize([debugging], resources={"hpc": loud}, instance=instance, raise_on_error=False)
        events = [str(event) for event in instance.all_logs(done.run_id)]
    printed = capfd.readouterr()
    assert "it is ***" in printed.out
    assert "hunter2" not in printed.out + printed.err
    assert any("it is ***" in event for event in events)
    assert not any("hunter2" in event for event in events)


def test_a_runner_that_only_waits_knows_the_secrets_of_its_profiles(hpc: HPCJobRunner) -> None:
    handle = hpc.submit(Command.shell('echo "it is $TOKEN"'), profile=profile())
    other = HPCJobRunner(target=hpc.target, work_root=hpc.work_root, ledger_url=hpc.ledger_url, profiles={"s": profile()})
    assert other.wait(handle).stdout_tail == "it is ***"


def test_a_secret_of_a_named_profile_is_still_one_when_dagster_has_resolved_it(hpc: HPCJobRunner) -> None:
    named = HPCJobRunner(
        target=hpc.target, work_root=hpc.work_root, ledger_url=hpc.ledger_url,
        profiles={"s": ExecutionProfile(environments={"TOKEN": dg.EnvVar("MY_SECRET")})},
    )  # fmt: skip
    seen: list[Any] = []

    @dg.asset
    def looked_at(hpc: HPCJobRunner) -> None:
        seen.append(resolve(Command("/bin/true"), hpc.profiles["s"], hpc.target))

    dg.materialize([looked_at], resources={"hpc": named})
    assert (seen[0].environment, seen[0].secret_environment) == ((), (("TOKEN", "hunter2"),))


def test_a_text_can_be_named_a_secret() -> None:
    spec = resolve(
        Command("/x"), ExecutionProfile(environments={"T": "x", "U": "y"}, secret_environments=["T"]), LocalTarget()
    )
    assert (spec.environment, spec.secret_environment) == ((("U", "y"),), (("T", "x"),))


def test_a_secret_stays_one_under_overrides() -> None:
    assert profile().with_overrides({"walltime": "60"}).secret_environments == ["TOKEN"]
    assert profile().with_overrides({"environments": {"TOKEN": "other"}}).secret_environments == ["TOKEN"]
    assert profile().with_overrides({"environments": {"ELSE": "other"}}).secret_environments == []
    both = ExecutionProfile(environments={"A": "x", "B": dg.EnvVar("MY_SECRET")}, secret_environments=["A"])
    assert both.secret_environments == ["A", "B"]
    given = ExecutionProfile().with_overrides({"environments": {"TOKEN": dg.EnvVar("MY_SECRET")}})
    assert given.secret_environments == ["TOKEN"]


def test_a_secret_under_a_mistyped_name_is_refused() -> None:
    mistyped = ExecutionProfile(environments={"TOKEN": "x"}, secret_environments=["TOKN"])
    with pytest.raises(ConfigurationError, match=r"'TOKN'.*TOKEN"):
        resolve(Command("/x"), mistyped, LocalTarget())


def test_a_secret_is_checked_as_any_variable_and_not_told() -> None:
    bad = ExecutionProfile(environments={"NO NAME": "hunter2", "T": "hunter2\0"}, secret_environments=["NO NAME", "T"])
    with pytest.raises(ConfigurationError, match="NO NAME") as refused:
        resolve(Command("/x"), bad, LocalTarget())
    assert len(refused.value.faults) == 2
    assert "hunter2" not in str(refused.value)


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_SECRET")
    with pytest.raises(ConfigurationError, match="MY_SECRET is not set"):
        resolve(Command("/x"), profile(), LocalTarget())


def test_an_env_var_is_its_value_wherever_it_stands_in_a_plain_script() -> None:
    # work_root=EnvVar("MY_ROOT") was the folder ./MY_ROOT
    assert (env_value(dg.EnvVar("MY_QUEUE")), env_value("plain")) == ("regular", "plain")
    target = SlurmTarget(queue_cpu=dg.EnvVar("MY_QUEUE"))
    assert with_env_values(target).queue_cpu == "regular"
    assert resolve(Command("/x"), ExecutionProfile(), target).queue == "regular"
    plain = SlurmTarget(queue_cpu="regular")
    assert with_env_values(plain) is plain


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("export DB_PASSWORD='hunter2 $x'", "export DB_PASSWORD=***"),
        ("export aws_secret_access_key=hunter2", "export aws_secret_access_key=***"),
        ("export HF_TOKEN=hunter2", "export HF_TOKEN=***"),
        ("export OMP_PROC_BIND=close", "export OMP_PROC_BIND=close"),
        ("export HPC_JOB_DIR=/scratch/token", "export HPC_JOB_DIR=/scratch/token"),
    ],
)
def test_a_password_given_as_text_is_masked_in_the_metadata(line: str, shown: str) -> None:
    assert masked(f"#!/bin/bash\n{line}\necho\n") == f"#!/bin/bash\n{shown}\necho\n"


def test_the_jobs_own_token_is_no_secret() -> None:
    assert masked("export HPC_JOB_TOKEN=abcd2345\n") == "export HPC_JOB_TOKEN=abcd2345\n"


@pytest.mark.parametrize("asset_name", ["simulate"])
def test_an_input_named_like_the_script_is_the_users(hpc: HPCJobRunner, asset_name: str) -> None:
    # it was replaced by the script, which then ran itself until its walltime
    inputs: dict[str, Any] = {f"{asset_name}.sh": "echo I am the user\n", "script.sh": "echo me too\n"}
    command = Command("/bin/bash", args=["simulate.sh"], name=asset_name, inputs=inputs)
    assert hpc.run(command, profile=ExecutionProfile(walltime="20")).stdout_tail == "I am the user"


def test_a_job_sees_nothing_of_the_orchestrators(hpc: HPCJobRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "DAGSTER_PG_PASSWORD"):
        monkeypatch.setenv(name, "hunter2")
    seen = hpc.run(Command.shell("env"), profile=ExecutionProfile()).stdout_tail
    assert "hunter2" not in seen
    assert f"HOME={Path.home()}" in seen
