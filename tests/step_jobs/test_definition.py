"""What can be seen to be wrong is an error where the executor is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_hpc import ConfigurationError, ExecutionProfile, HPCJobRunner, LocalTarget, hpc_executor
from dagster_hpc.executor.definition import HPCExecutorDefinition

RUNNER = HPCJobRunner(target=LocalTarget(), profiles={"small": ExecutionProfile()}, work_root="jobs")


def test_an_executor_whose_profile_does_not_exist_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'small'"):
        hpc_executor(RUNNER, profile="smal")


def test_overrides_that_no_profile_has_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'walltime'"):
        hpc_executor(RUNNER, profile="small", overrides={"waltime": "1h"})


def test_a_runner_that_is_completed_at_launch_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="an executor gets nothing at launch"):
        hpc_executor(HPCJobRunner.configure_at_launch(), profile="small")  # type: ignore[arg-type]


def test_a_target_that_is_completed_at_launch_is_an_error(tmp_path: Path) -> None:
    runner = HPCJobRunner(target=LocalTarget.configure_at_launch(), work_root=str(tmp_path))
    with pytest.raises(ConfigurationError, match="an executor gets nothing at launch"):
        hpc_executor(runner, profile="small")


def test_an_executor_that_is_configured_in_the_code_still_knows_its_runner() -> None:
    configured = hpc_executor(RUNNER, profile="small").configured({"max_concurrent": 2})
    assert isinstance(configured, HPCExecutorDefinition)
    assert configured.runner is RUNNER
