"""The executor that a code location names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.execution.retries import RetryMode, get_retries_config
from dagster._core.execution.tags import get_tag_concurrency_limits_config
from typing_extensions import Self

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.executor.handler import StepJobExecutor, StepJobHandler
from dagster_hpc.executor.step_job import StepJobs
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ProfileOverrides
from dagster_hpc.resources.targets.base import HPCTarget

_RARELY_S = 20.0  # Dagster's own interval between two looks at the health of steps


class HPCExecutorDefinition(dg.ExecutorDefinition):
    """The executor with its runner and its interpreter, which `dagster-hpc doctor` examines."""

    def __init__(self, runner: HPCJobRunner, python: str | None, **definition: Any) -> None:
        super().__init__(**definition)
        self.runner = runner
        self.python = python

    def copy_for_configured(self, name: str, description: str | None, config_schema: Any) -> Self:
        copy = super().copy_for_configured(name, description, config_schema)
        return cast(
            Self,
            HPCExecutorDefinition(
                self.runner,
                self.python,
                name=copy.name,
                config_schema=copy.config_schema,
                requirements=copy.get_requirements,
                executor_creation_fn=copy.executor_creation_fn,
                description=copy.description,
            ),
        )


def hpc_executor(
    runner: HPCJobRunner,
    *,
    profile: str,
    overrides: Mapping[str, Any] | None = None,
    env_vars: Sequence[str] = (),
    python: str | None = None,
    max_concurrent: int | None = None,
    tag_concurrency_limits: Sequence[Mapping[str, Any]] = (),
) -> HPCExecutorDefinition:
    """Every step of a job as a batch job of its own: assets and ops stay as they are.

    `profile`, `overrides`: of each step whose tags `dagster_hpc/profile` and `dagster_hpc/overrides` (JSON) say nothing
    else. `env_vars`: names of variables of the run worker that the steps get, too. `python`: the interpreter on the
    compute nodes; default: that of the code location. All but the last can be changed on the launchpad.

    The compute nodes must see the code location, Dagster's instance and what the IO managers write.

    Example:
        runner = HPCJobRunner(
            target=SlurmTarget(queue_cpu="regular"),
            profiles={"small": ExecutionProfile(walltime="00:10:00"), "large": ExecutionProfile(num_nodes=2)},
            work_root="/scratch/me/dagster",
        )

        @dg.asset(op_tags={"dagster_hpc/profile": "large"})
        def climate() -> float: ...

        defs = dg.Definitions(assets=[climate], executor=hpc_executor(runner, profile="small"))
    """
    faults = _faults(runner)
    if faults:
        raise ConfigurationError(faults, advice="give it a runner with a target that is complete in the code.")
    runner.profile(profile, overrides)  # an error here, not at the first run

    def create(context: dg.InitExecutorContext) -> StepJobExecutor:
        config = cast(dict[str, Any], dict(context.executor_config))
        jobs = StepJobs(runner, config["profile"], config["overrides"], config["env_vars"], python)
        return StepJobExecutor(
            StepJobHandler(jobs),
            retries=RetryMode.from_config(config["retries"]) or RetryMode.ENABLED,
            check_step_health_interval_seconds=max(1, round(min(runner.target.poll_interval, _RARELY_S))),
            max_concurrent=config["max_concurrent"],
            tag_concurrency_limits=config["tag_concurrency_limits"],
        )

    schema = {
        "profile": dg.Field(str, default_value=profile, description="Execution profile of steps whose tags name no other."),
        "overrides": dg.Field(
            ProfileOverrides.to_config_schema().as_field().config_type,
            default_value=dict(overrides or {}),
            description=ProfileOverrides.__doc__,
        ),
        "env_vars": dg.Field(
            [str], default_value=list(env_vars), description="Variables of the run worker that the steps get, by name."
        ),
        "max_concurrent": dg.Field(
            dg.Noneable(int), default_value=max_concurrent, description="Most steps at once; none: as many as there are."
        ),
        "tag_concurrency_limits": _tag_limits(tag_concurrency_limits),
        "retries": get_retries_config(),  # type: ignore[no-untyped-call]
    }
    return HPCExecutorDefinition(
        runner,
        python,
        name="hpc",
        description="Each step is a batch job of its own.",
        config_schema=schema,
        requirements=multiple_process_executor_requirements(),
        executor_creation_fn=create,
    )


def _tag_limits(given: Sequence[Mapping[str, Any]]) -> dg.Field:
    usual: dg.Field = get_tag_concurrency_limits_config()  # type: ignore[no-untyped-call]
    limits = [dict(limit) for limit in given]
    return dg.Field(usual.config_type, default_value=limits, description=usual.description)


def _faults(runner: object) -> list[str]:
    if not isinstance(runner, HPCJobRunner):
        return [f"hpc_executor needs an HPCJobRunner, not {type(runner).__name__}: an executor gets nothing at launch"]
    if not isinstance(runner.target, HPCTarget):
        return [f"hpc_executor needs a target, not {type(runner.target).__name__}: an executor gets nothing at launch"]
    return []
