"""A node dies under a job."""

from __future__ import annotations

import pytest

from dagster_hpc import JobState
from tests.contract.site import Site
from tests.faults.place import eventually


def test_a_job_whose_node_dies_says_so(site: Site) -> None:
    if "node loss" not in site.system.can:
        pytest.skip(f"{site.system.kind} cannot lose a node")
    job = site.submit("sleep 100", name="doomed")
    job.until("RUNNING")
    eventually(lambda: job.began, "it runs")  # some systems say so before its first process is there
    site.system.lose_node(job.id)
    result = job.end()
    assert result.state is JobState.NODE_FAIL, result.reason
    assert result.reason
