"""What Dagster is told of jobs that are over: materializations with their checks, or the failure, without a run."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NoReturn

import dagster as dg
from dagster._core.errors import DagsterUserCodeExecutionError, user_code_error_boundary

from dagster_hpc.assets.collected import Collected, collected
from dagster_hpc.assets.recipe import Recipe, recipe_of
from dagster_hpc.assets.storing import store_value
from dagster_hpc.dagster_values import code, text
from dagster_hpc.engine.job import JobResult
from dagster_hpc.engine.job.result import failure_of
from dagster_hpc.engine.jobdir import STDERR, STDOUT
from dagster_hpc.engine.ledger import Recipient, Report
from dagster_hpc.engine.report import Account, Ended, Event, Standing
from dagster_hpc.metadata import array_metadata, job_metadata
from dagster_hpc.resources.deployment import deployment_of, standing_in
from dagster_hpc.sensors.compute_logs import ComputeLogs
from dagster_hpc.sensors.event_log import TAG_REPORT, TAG_TOKEN, AssetEvent, CheckEvent, EventLog
from dagster_hpc.sensors.versions import version_tags

_IO_MANAGER = "io_manager"


class DagsterReports:
    """One Dagster and the assets of one of its code locations, as the engine reports to them."""

    def __init__(self, instance: dg.DagsterInstance, assets: Mapping[dg.AssetKey, dg.AssetsDefinition]) -> None:
        self.deployment = deployment_of(instance)
        self._instance, self._assets = instance, assets
        self._standing = standing_in(instance)

    def standing(self, step: Recipient, report: Report) -> Standing:
        return self._standing(step, report)

    @property
    def asset_keys(self) -> set[str]:
        """The assets that can be reported: those whose results this code location knows how to read."""
        keys = [key for key, definition in self._assets.items() if recipe_of(definition) is not None]
        return {key.to_user_string() for key in keys}

    def refusal(self, report: Report) -> str:
        """Why this report has to wait; '' if it has not."""
        if self._definition(report) is None:
            return f"this code location defines no hpc_asset {report.asset_key!r}"
        return ""

    def account(self, report: Report, ended: Ended, *, again: bool) -> Account:
        """All that is to be said of these jobs. A value is stored before anything is said of it."""
        account = self._account(report, ended.results, again=again)
        return replace(account, events=[*account.events, ComputeLogs(self._instance, report, ended)])

    def _account(self, report: Report, results: Sequence[JobResult], *, again: bool) -> Account:
        bad = [result for result in results if not result.succeeded]
        if bad:
            return self._failure(report, results, str(failure_of(bad[0])), str(bad[0].state))
        known = self._log(report).find(self._materialization(report, {})) if again else None
        try:
            with user_code_error_boundary(DagsterUserCodeExecutionError, lambda: f"collecting {report.asset_key} failed"):
                made, metadata = self._collected(report, results)
        except dg.DagsterError as error:
            if known is not None:
                return Account(str(results[0].state), [])  # it was materialized before it could be no more
            return self._failure(report, results, _words(error), "COLLECT_FAILED")
        materialization = self._materialization(report, metadata, made)
        events: list[Event] = [AssetEvent(self._log(report), materialization)]
        events += self._checks(report, made, materialization)
        return Account(str(results[0].state), events)

    def _definition(self, report: Report) -> tuple[dg.AssetsDefinition, Recipe] | None:
        definition = self._assets.get(_key_of(report))
        recipe = recipe_of(definition) if definition is not None else None
        return (definition, recipe) if definition is not None and recipe is not None else None

    def _collected(self, report: Report, results: Sequence[JobResult]) -> tuple[Collected, dict[str, Any]]:
        """What the jobs come to, its value stored, and all that is known about it."""
        definition, recipe = self._definition(report) or _gone(report)
        made = collected(recipe, results, single=report.single)
        metadata = {**made.metadata, **self._where(report, results)}
        if made.has_value:
            metadata |= self._stored(report, definition, made.value)
        return made, metadata

    def _stored(self, report: Report, definition: dg.AssetsDefinition, value: Any) -> dict[str, dg.MetadataValue]:
        key = _key_of(report)
        output = definition.op.output_def_named(definition.get_output_name_for_asset_key(key))
        if output.dagster_type.is_nothing:
            return {}
        name = output.io_manager_key
        needed = {name: definition.resource_defs.get(name, dg.fs_io_manager)}
        needed |= {other: definition.resource_defs[other] for other in needed[name].required_resource_keys}
        with ExitStack() as stack:
            resources = stack.enter_context(dg.build_resources(needed, instance=self._instance))
            return store_value(
                getattr(resources, name),
                value,
                definition=definition,
                asset_key=key,
                partition_key=report.partition_key,
                instance=self._instance,
                run_id=report.run_id,
                resources={other: getattr(resources, other) for other in needed if other != name},
            )

    def _where(self, report: Report, results: Sequence[JobResult]) -> dict[str, dg.MetadataValue]:
        """The run that asked for the jobs, and the files that have all they printed."""
        run: dict[str, dg.MetadataValue] = {"run": dg.MetadataValue.dagster_run(report.run_id)}
        if not report.single:
            return run
        folder = results[0].handle.work_dir
        files = {"stdout": STDOUT, "stderr": STDERR}
        return run | {name: dg.MetadataValue.path(posixpath.join(folder, file)) for name, file in files.items()}

    def _materialization(
        self, report: Report, metadata: Mapping[str, Any], made: Collected | None = None
    ) -> dg.AssetMaterialization:
        versions = version_tags(report, made.data_version) if made else {}
        return dg.AssetMaterialization(
            _key_of(report),
            partition=report.partition_key,
            metadata=metadata,
            tags={**versions, **(made.tags if made else {}), **_tags(report)},
        )

    def _checks(self, report: Report, made: Collected, of: dg.AssetMaterialization) -> Sequence[CheckEvent]:
        definition, _ = self._definition(report) or _gone(report)
        names: dict[dg.AssetKey, set[str]] = {}
        for key in definition.check_keys:
            names.setdefault(key.asset_key, set()).add(key.name)
        events = []
        for result in made.checks:
            key = result.resolve_target_check_key(names)
            spec = definition.get_spec_for_check_key(key)
            evaluation = dg.AssetCheckEvaluation(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=result.passed,
                metadata={**(result.metadata or {}), TAG_REPORT: dg.MetadataValue.text(report.report)},
                severity=result.severity,
                description=result.description,
                blocking=spec.blocking,
                partition=report.partition_key if spec.partitions_def is not None else None,
            )
            events.append(CheckEvent(self._log(report), evaluation, of))
        return events

    def _failure(self, report: Report, results: Sequence[JobResult], words: str, outcome: str) -> Account:
        metadata = job_metadata(results[0]) if report.single else array_metadata(list(results))
        observation = dg.AssetObservation(
            _key_of(report),
            partition=report.partition_key,
            description=words,
            metadata={**metadata, "failure": code(words), "outcome": text(outcome), **self._where(report, results)},
            tags=_tags(report),
        )
        return Account(outcome, [AssetEvent(self._log(report), observation)], delivers=False)

    def _log(self, report: Report) -> EventLog:
        return EventLog(self._instance, report.report, report.begun_at or report.created_at)


def _key_of(report: Report) -> dg.AssetKey:
    return dg.AssetKey.from_user_string(report.asset_key)


def _tags(report: Report) -> dict[str, str]:
    return {TAG_REPORT: report.report, TAG_TOKEN: report.tokens[0]}


def _words(error: dg.DagsterError) -> str:
    cause = error.__cause__
    return f"{error}: {type(cause).__name__}: {cause}" if cause is not None else str(error)


def _gone(report: Report) -> NoReturn:
    raise dg.DagsterInvariantViolationError(f"there is no hpc_asset {report.asset_key!r} any more")
