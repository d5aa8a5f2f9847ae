"""JobResult → Dagster metadata: the same keys everywhere, numbers that can be plotted, text that can be read."""

from __future__ import annotations

import math

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc import JobHandle, JobMetrics, JobResult, JobState, array_metadata, job_metadata
from dagster_hpc.dagster_values import table

HANDLE = JobHandle("abcd2345", "42", "/scratch/x", "slurm", "x")
FULL = JobResult(
    HANDLE,
    JobState.FAILED,
    exit_code=3,
    reason="disk full",
    metrics=JobMetrics(
        1.5, 10.0, 20.0, 0.5, 128.25, 9e3, 0.01, 2, 4, "node[1-2]", 1.7e9, 1.7e9, 1.7e9, {"State": "FAILED"}
    ),
    stdout_tail="out",
    stderr_tail="err",
    outputs={"a": "/scratch/x/a"},
    script="#!/bin/bash",
    queue="cpu",
    project="ab12",
    scheduler="slurm",
)
EMPTY = JobResult(JobHandle("abcd2345", None, "/x", "local"), JobState.REFUSED)


def test_the_keys_are_the_same_whatever_is_known() -> None:
    assert set(job_metadata(FULL)) == set(job_metadata(EMPTY))


def test_numbers_are_numbers_and_times_are_times() -> None:
    metadata = job_metadata(FULL)
    assert metadata["elapsed_s"] == dg.MetadataValue.float(10.0)
    assert metadata["nodes"] == dg.MetadataValue.int(2)
    assert metadata["exit_code"] == dg.MetadataValue.int(3)
    assert isinstance(metadata["started_at"], dg.TimestampMetadataValue)
    assert isinstance(metadata["work_dir"], dg.PathMetadataValue)


def test_what_the_system_does_not_say_is_null_and_not_zero() -> None:
    metadata = job_metadata(EMPTY)
    unknown = ("elapsed_s", "nodes", "exit_code", "energy_j", "started_at")
    assert all(metadata[key] == dg.MetadataValue.null() for key in unknown)


@given(st.floats(), st.floats())
def test_no_figure_is_ever_nan_or_infinite(one: float, other: float) -> None:
    result = JobResult(HANDLE, JobState.COMPLETED, metrics=JobMetrics(elapsed_s=one, energy_j=other))
    for metadata in (job_metadata(result), array_metadata([result, result])):
        values = [value.value for value in metadata.values() if isinstance(value.value, float)]
        assert all(math.isfinite(value) for value in values)


@pytest.mark.parametrize("text", ["plain", "``` fence", "a ````` b", "# no *title*\n- no list"])
def test_logs_stand_in_a_fence_that_nothing_inside_can_end(text: str) -> None:
    metadata = job_metadata(JobResult(HANDLE, JobState.COMPLETED, stdout_tail=text))["stdout_tail"]
    assert isinstance(metadata, dg.MarkdownMetadataValue)
    first, *inside, last = (metadata.md_str or "").splitlines()
    assert "\n".join(inside) == text
    assert set(first) == {"`"}
    assert first == last
    assert first not in text


def test_of_a_long_log_the_end_is_shown() -> None:
    # the predecessor kept the beginning, and cut off the error
    text = "\n".join(f"line {number} " + "x" * 2000 for number in range(100))
    shown = str(job_metadata(JobResult(HANDLE, JobState.FAILED, stderr_tail=text))["stderr_tail"].value)
    assert "line 99 " in shown
    assert "line 10 " not in shown
    assert len(shown) < 25_000


def test_an_array_is_summed_up() -> None:
    results = [
        JobResult(HANDLE, JobState.COMPLETED, metrics=JobMetrics(elapsed_s=1.0, cpu_time_s=2.0, node_hours=0.5)),
        JobResult(HANDLE, JobState.FAILED, metrics=JobMetrics(elapsed_s=3.0, cpu_time_s=4.0)),
        JobResult(HANDLE, JobState.COMPLETED),
    ]
    metadata = {key: value.value for key, value in array_metadata(results).items()}
    assert metadata["jobs"] == 3
    assert metadata["states"] == {"COMPLETED": 2, "FAILED": 1}
    assert (metadata["cpu_time_s"], metadata["elapsed_s"], metadata["node_hours"]) == (6.0, 3.0, 0.5)
    assert metadata["energy_j"] is None


def test_metrics_follow_from_each_other() -> None:
    metrics = JobMetrics(submitted_at=10.0, started_at=15.0, ended_at=25.0, nodes=2, cores=4, cpu_time_s=20.0).derived()
    assert (metrics.queue_wait_s, metrics.elapsed_s, metrics.cpu_efficiency) == (5.0, 10.0, 0.5)
    assert metrics.node_hours == pytest.approx(20 / 3600)


def test_a_clock_that_went_backwards_gives_no_negative_time() -> None:
    metrics = JobMetrics(submitted_at=10.0, started_at=5.0, ended_at=1.0).derived()
    assert (metrics.queue_wait_s, metrics.elapsed_s) == (0.0, 0.0)


def test_a_table_has_no_noise_digits_and_nothing_that_the_ui_cannot_read() -> None:
    found = table([{"energy": -108.94701069336188, "spin_square": 8.8e-31, "change": math.nan, "jobs": 3, "ok": True}])
    assert dict(found.records[0].data) == {
        "energy": -108.9470106934, "spin_square": 0.0, "change": None, "jobs": 3, "ok": True
    }  # fmt: skip
