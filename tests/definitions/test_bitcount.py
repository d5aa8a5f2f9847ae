"""The demo's pipeline: the same assets on every target, with the same metadata, and counts that are right."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from definitions import defs
from definitions.bitcount import SamplesConfig, draw_samples, read_samples
from definitions.demo import SHOWN
from tests.definitions.dagster_home import DagsterHome
from tests.systems.slurm import SlurmCluster

FIGURES = {"queue_wait_s", "elapsed_s", "cpu_time_s", "cpu_efficiency", "max_rss_mib", "node_hours", "nodes", "cores"}
KEYS = {
    *FIGURES, "job_id", "target", "scheduler", "queue", "project", "state", "exit_code", "reason", "work_dir",
    "outputs", "script", "stdout_tail", "stderr_tail", "node_list", "energy_j", "submitted_at", "started_at",
    "ended_at", "scheduler_raw", "attempts",
}  # fmt: skip
KNOWN_EVERYWHERE = FIGURES - {"max_rss_mib", "cpu_efficiency"}  # Slurm samples memory, a short job ends before


def materialize(home: DagsterHome, config: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
    job = defs().resolve_implicit_global_asset_job_def()
    with home.instance() as instance:
        shown = [dg.AssetKey(name) for name in SHOWN]
        result = job.execute_in_process(config, instance=instance, raise_on_error=False, asset_selection=shown)
        assert result.success, [event.message for event in result.get_step_failure_events()]
        return result


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, dg.MetadataValue[Any]]:
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value for name, value in event.metadata.items() if name != "path"}  # that is the IO manager's


def assert_whole(metadata: dict[str, dg.MetadataValue[Any]], scheduler: str) -> None:
    """The record of a job that ended well: all keys, numbers as numbers, and no number that the UI cannot read."""
    assert set(metadata) == KEYS
    assert (metadata["state"].value, metadata["exit_code"].value) == ("COMPLETED", 0)
    assert metadata["scheduler"].value == scheduler
    assert metadata["job_id"].value
    for name in KNOWN_EVERYWHERE:
        assert isinstance(metadata[name], dg.FloatMetadataValue | dg.IntMetadataValue), f"{name}: {metadata[name]}"
    for name in FIGURES:
        assert isinstance(metadata[name], dg.FloatMetadataValue | dg.IntMetadataValue | dg.NullMetadataValue), (
            f"{name}: {metadata[name]}"
        )
    numbers = [value.value for value in metadata.values() if isinstance(value.value, float)]
    assert all(math.isfinite(number) for number in numbers)


@pytest.mark.parametrize("scheduler", ["local", pytest.param("slurm", marks=pytest.mark.needs("slurm"))])
def test_the_same_assets_on_each_target(
    scheduler: str, home: DagsterHome, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("DAGSTER_HPC_TARGET", scheduler)
    if scheduler == "slurm":
        cluster: SlurmCluster = request.getfixturevalue("slurm")
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)

    result = materialize(home)

    assert_whole(metadata_of(result, "hello"), scheduler)
    assert_whole(metadata_of(result, "bit_counts"), scheduler)
    assert result.output_for_node("bit_counts") == numpy_counts(draw_samples(SamplesConfig()))
    tags = run_tags(home, result.run_id)
    ids = {str(metadata_of(result, asset)["job_id"].value) for asset in ("hello", "bit_counts")}
    assert set(tags["dagster_hpc/job_id"].split(",")) == ids
    assert tags["dagster_hpc/target"] == metadata_of(result, "hello")["target"].value


def run_tags(home: DagsterHome, run_id: str) -> dict[str, str]:
    with home.instance() as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        return dict(run.tags)


def numpy_counts(samples: list[str]) -> dict[str, int]:
    strings, counts = np.unique(np.array(samples), return_counts=True)
    return dict(zip(strings.tolist(), counts.tolist(), strict=True))


def test_samples_from_a_file_are_counted(home: DagsterHome) -> None:
    given = ["0110", "1111", "0110", "0000", "0110"]
    file = home.folder / "mine.txt"
    file.write_text("\n".join(given))
    result = materialize(home, {"ops": {"samples": {"config": {"input_file": str(file)}}}})
    assert result.output_for_node("bit_counts") == numpy_counts(given)
    assert metadata_of(result, "samples")["source"].value == str(file)
    assert metadata_of(result, "histogram")["most_frequent"].value == "0110"


def test_the_picture_is_a_png_inside_the_metadata(home: DagsterHome) -> None:
    picture = metadata_of(materialize(home), "histogram")["picture"]
    assert isinstance(picture, dg.MarkdownMetadataValue)
    head, _, data = str(picture.value).partition("(data:image/png;base64,")
    assert head.startswith("![")
    assert base64.b64decode(data.removesuffix(")")).startswith(b"\x89PNG")


def test_equal_seeds_draw_equal_samples_and_no_noise_draws_the_reference() -> None:
    assert draw_samples(SamplesConfig(seed=3)) == draw_samples(SamplesConfig(seed=3))
    assert draw_samples(SamplesConfig(seed=3)) != draw_samples(SamplesConfig(seed=4))
    assert draw_samples(SamplesConfig(reference="101", flip_probability=0.0, shots=2)) == ["101", "101"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no bitstring"),
        ("01\n0x\n", "bitstring 2 is '0x'"),
        ("01\n011\n", "bitstring 2 is '011'"),
        ("0¹\n", "cannot be read"),
    ],
)
def test_a_file_of_something_else_is_refused_in_words(text: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "other.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(dg.Failure, match=complaint):
        read_samples(file)


def test_a_missing_file_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(dg.Failure, match="No such file"):
        read_samples(tmp_path / "nothing.txt")
