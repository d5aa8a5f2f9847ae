"""A job that is over, as those hear of it who wait for none; and which of them somebody wants to hear of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import dagster as dg
from dagster._core.definitions.events import CoercibleToAssetKey

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, Subject, end_of

_OUTPUTS_COME_S = 300.0  # whether the outputs of a job are there shows when its result is collected


@dataclass(frozen=True)
class JobOrArray:
    """A job, or an array: a row of the ledger for each element."""

    rows: tuple[JobRow, ...]

    @property
    def first(self) -> JobRow:
        """Its row; of an array that of the first element, or of the first one that ended badly."""
        bad = (row for row in self.rows if row.state.is_final and not row.state.is_success)
        return next(bad, self.rows[0])

    @property
    def token(self) -> str:
        """By which the ledger knows it: `dagster-hpc show TOKEN`."""
        return self.rows[0].batch if self.is_array else self.rows[0].token

    @property
    def is_array(self) -> bool:
        return len(self.rows) > 1

    @property
    def name(self) -> str:
        return self.rows[0].name

    @property
    def job_id(self) -> str | None:
        return self.first.job_id

    @property
    def work_dir(self) -> str:
        return self.rows[0].batch_dir if self.is_array else self.rows[0].work_dir

    @property
    def asset_key(self) -> str | None:
        """The asset that it was submitted for, as in `site/energy`; None for that of a script or an op."""
        return self.rows[0].asset_key

    @property
    def partition_keys(self) -> list[str]:
        return [row.partition_key for row in self.rows if row.partition_key]


@dataclass(frozen=True)
class EndedJob(JobOrArray):
    """A job that is over, or an array of which all elements are.

    Example:
        def for_plot(job: EndedJob) -> dg.RunRequest:
            return dg.RunRequest(run_config={"ops": {"plot": {"config": {"folder": job.work_dir}}}})

        plot_each = build_job_ended_sensor(target="plots", names=["md-*"], request=for_plot)
    """

    @property
    def state(self) -> JobState:
        """COMPLETED if all of it has ended well."""
        return self.first.state

    def may_change(self, now: float) -> bool:
        """Whether it may turn out soon that a job which ended well has not left what it was to leave."""
        return any(
            row.state.is_success and row.outputs and row.collected_at is None and now - row.updated_at < _OUTPUTS_COME_S
            for row in self.rows
        )

    @property
    def tags(self) -> dict[str, str]:
        """What a run that is started for it says of it."""
        return {
            "dagster_hpc/token": self.token,
            "dagster_hpc/job_name": self.name,
            "dagster_hpc/job_id": self.job_id or "",
            "dagster_hpc/state": self.state.value,
            "dagster_hpc/work_dir": self.work_dir,
        }

    @property
    def subjects(self) -> list[Subject]:
        """By which the ledger notes who has heard of it."""
        return [end_of(row) for row in self.rows]


@dataclass(frozen=True)
class Wanted:
    """Which jobs somebody wants to hear of. None: any."""

    assets: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None  # patterns, as in `md-*`
    states: tuple[JobState, ...] | None = None

    @classmethod
    def of(
        cls,
        assets: Sequence[CoercibleToAssetKey] | None,
        names: Sequence[str] | None,
        states: Sequence[JobState | str] | None = None,
    ) -> Wanted:
        keys = None if assets is None else tuple(_key(asset).to_user_string() for asset in assets)
        known = None if states is None else tuple(JobState(state) for state in states)
        return cls(keys, None if names is None else tuple(names), known)

    def covers(self, row: JobRow) -> bool:
        """Whether somebody wants to hear of this job at all."""
        if self.assets is not None and row.asset_key not in self.assets:
            return False
        return self.names is None or any(fnmatchcase(row.name, pattern) for pattern in self.names)

    def wants(self, job: EndedJob) -> bool:
        """Whether somebody wants to hear of this end."""
        return self.covers(job.rows[0]) and (self.states is None or job.state in self.states)


def _key(asset: CoercibleToAssetKey | dg.AssetsDefinition) -> dg.AssetKey:
    if isinstance(asset, str):
        return dg.AssetKey.from_user_string(asset)
    return asset.key if isinstance(asset, dg.AssetsDefinition) else dg.AssetKey.from_coercible(asset)
