"""Code and data versions of a materialization that no step makes: as Dagster itself would tag it."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DataProvenance,
    compute_logical_data_version,
)

from dagster_hpc.engine.ledger import Report


def version_tags(report: Report, given: dg.DataVersion | None) -> dict[str, str]:
    """The versions of code and inputs as they were when the job was asked for, and that of the data."""
    if given is not None:
        return {**report.tags, DATA_VERSION_TAG: given.value, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
    was = DataProvenance.from_tags(report.tags)
    if was is None:
        return {DATA_VERSION_TAG: report.report}
    made = compute_logical_data_version(report.tags[CODE_VERSION_TAG], was.input_data_versions)
    return {**report.tags, DATA_VERSION_TAG: made.value}
