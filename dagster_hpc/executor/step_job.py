"""From a Dagster step to the batch job that executes it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from dagster._core.instance.ref import InstanceRef
from dagster._grpc.types import ExecuteStepArgs

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.engine.job import JobSpec, Request
from dagster_hpc.executor.environment import with_step_environment
from dagster_hpc.resources.command import Command
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.resolve import resolve
from dagster_hpc.resources.retry import engine_rules

TAG_PROFILE = "dagster_hpc/profile"
TAG_OVERRIDES = "dagster_hpc/overrides"
_PREFIX = "dagster_hpc/"
_STEP = "step.args"  # a file, because it holds the instance's configuration, and may be longer than an argument
# Dagster reads the step from this variable. `exec`: the signal that ends the job is to reach Dagster.
_SCRIPT = """\
DAGSTER_COMPRESSED_EXECUTE_STEP_ARGS=$(<{step})
export DAGSTER_COMPRESSED_EXECUTE_STEP_ARGS
cd -- {folder}
exec {python} -m dagster api execute_step
"""


@dataclass(frozen=True)
class StepJobs:
    """How the steps of one run become jobs. `python`: the interpreter there; None: that of the code location."""

    hpc: HPCJobRunner
    profile: str
    overrides: Mapping[str, Any]
    env_vars: Sequence[str] = ()
    python: str | None = None

    def faults(self, steps: Iterable[tuple[str, Mapping[str, str]]], instance: InstanceRef | None) -> list[str]:
        """What is wrong with the profiles and tags of these steps, given as (key, tags), before any of them is submitted."""
        unset = [name for name in self.env_vars if name not in os.environ]
        found = [f"env_vars names {name}, which is not set where the run is executed" for name in unset]
        for key, tags in steps:
            try:
                self._spec(key, "true", self._profile(tags, instance))
            except ConfigurationError as error:
                found += [f"step {key}: {fault}" for fault in error.faults]
        return found

    def request(self, args: ExecuteStepArgs, tags: Mapping[str, str], deployment: str) -> Request:
        """The job of this attempt at this step. It is one job, whoever asks for it and however often."""
        (key,) = args.step_keys_to_execute or ()
        python = self.python or args.job_origin.executable_path
        script = _SCRIPT.format(
            step=_STEP,
            folder=shlex.quote(os.getcwd()),  # the code location may be found by a path that is relative to it
            python=shlex.quote(python),
        )
        (step,) = args.get_command_env()
        return Request(
            spec=self._spec(key, script, self._profile(tags, args.instance_ref)),
            work_root=self.hpc.folder,
            inputs={_STEP: step["value"].encode()},
            identity=identity_of(args),
            retry=engine_rules(self.hpc.retry),
            deployment=deployment,
            run_id=args.run_id,  # without the step's key: jobs that the step itself submits are told by it
        )

    def _profile(self, tags: Mapping[str, str], instance: InstanceRef | None) -> ExecutionProfile:
        """The profile that the step's tags name, or that of the run, with the overrides of both."""
        profile = self.hpc.profile(tags.get(TAG_PROFILE, self.profile), self.overrides)
        return with_step_environment(profile.with_overrides(_overrides_in(tags)), self.env_vars, instance)

    def _spec(self, key: str, script: str, profile: ExecutionProfile) -> JobSpec:
        """One process on the first node, whatever the launcher: a step is executed once, and may start ranks itself."""
        spec = resolve(Command.shell(script, name=key), profile, self.hpc.where, folder=self.hpc.folder)
        self.hpc.conceal_from_now_on(value for _, value in spec.secret_environment)
        return replace(spec, launcher="single", launcher_options=())


def identity_of(args: ExecuteStepArgs) -> str:
    """The same for everybody who means this attempt at this step of this run."""
    (key,) = args.step_keys_to_execute or ()
    attempt = args.known_state.get_retry_state().get_attempt_count(key) if args.known_state else 0
    return sha256("\0".join(["step", args.run_id, key, str(attempt)]).encode()).hexdigest()[:40]


def _overrides_in(tags: Mapping[str, str]) -> Mapping[str, Any]:
    known = [TAG_PROFILE, TAG_OVERRIDES]
    unknown = [tag for tag in tags if tag.startswith(_PREFIX) and tag not in known]
    if unknown:
        raise ConfigurationError([f"the tag {tag!r} means nothing: {did_you_mean(tag, known)}" for tag in unknown])
    text = tags.get(TAG_OVERRIDES, "{}")
    try:
        overrides = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"the tag {TAG_OVERRIDES!r} is {text!r}, which is no JSON: {error}") from error
    if not isinstance(overrides, dict):
        raise ConfigurationError(
            f'the tag {TAG_OVERRIDES!r} is {text!r}: write fields of a profile, as in {{"walltime": "02:00:00"}}'
        )
    return overrides
