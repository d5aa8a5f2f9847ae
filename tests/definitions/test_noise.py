"""The demo's sweep: all partitions are one array job, and what they measured is what chance says."""

from __future__ import annotations

import dagster as dg
import pytest

from definitions import defs
from definitions.noise import FLIPS
from tests.definitions.dagster_home import DagsterHome


def test_the_sweep_is_one_array_job_and_its_curve_is_that_of_independent_flips(home: DagsterHome) -> None:
    job = defs().resolve_implicit_global_asset_job_def()
    whole = {"dagster/asset_partition_range_start": FLIPS[0], "dagster/asset_partition_range_end": FLIPS[-1]}
    with home.instance() as instance:
        job.execute_in_process(instance=instance, tags=whole, asset_selection=[dg.AssetKey("noise_sweep")])
        curve = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("noise_curve")])
    rows = home.jobs()
    assert sorted(str(row.partition_key) for row in rows) == sorted(FLIPS)
    assert len({row.batch for row in rows}) == 1
    metadata = curve.asset_materializations_for_node("noise_curve")[0].metadata
    assert metadata["points"].value == len(FLIPS)
    assert metadata["largest_deviation"].value == pytest.approx(0, abs=0.04)
    assert str(metadata["picture"].value).startswith("![")
