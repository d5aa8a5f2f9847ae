"""The server is away for a while, with one job running and another about to be submitted."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from dagster_hpc import JobResult, JobState
from dagster_hpc.engine.ledger import JobRow
from tests.contract.site import Site, opened
from tests.contract.systems.base import System
from tests.faults.place import WITHIN_S, eventually

SILENT, UNCLEAR = "cannot be asked just now", "looking whether"


@dataclass
class Outage:
    """What was seen while it lasted, and what became of both jobs."""

    site: Site
    meanwhile: JobRow
    running: JobResult
    submitted: JobResult


@pytest.fixture(scope="module")
def outage(system: System) -> Iterator[Outage]:
    if "server down" not in system.can:
        pytest.skip(f"{system.kind} has no server that could be down")
    with opened(system) as site, ThreadPoolExecutor() as threads:
        gate = site.gate()
        job = site.submit(f"echo ran >>{site.folder}/running; {gate.closed}", name="running")
        job.until("RUNNING")
        running = threads.submit(job.end)
        system.stop_server()
        try:
            late = threads.submit(lambda: site.submit(f"echo ran >>{site.folder}/submitted", name="submitted").end())
            eventually(lambda: told(site, SILENT) and told(site, UNCLEAR), "both hear of it")
            meanwhile = job.row
        finally:
            gate.open()
            system.start_server()
        yield Outage(site, meanwhile, running.result(WITHIN_S), late.result(WITHIN_S))


def told(site: Site, words: str) -> list[str]:
    return [warning for warning in site.warnings if words in warning]


def ran(outage: Outage, name: str) -> str:
    return (outage.site.folder / name).read_text()


def test_no_state_changes_meanwhile(outage: Outage) -> None:
    assert outage.meanwhile.state is JobState.RUNNING


def test_each_source_that_is_silent_is_told_of_once(outage: Outage) -> None:
    sources = [warning.partition(SILENT)[0] for warning in told(outage.site, SILENT)]
    assert sources
    assert len(sources) == len(set(sources))


def test_the_job_that_ran_goes_on_to_its_end(outage: Outage) -> None:
    assert outage.running.state is JobState.COMPLETED, outage.running.reason
    assert ran(outage, "running") == "ran\n"


def test_the_job_that_was_submitted_meanwhile_runs_once(outage: Outage) -> None:
    assert outage.submitted.state is JobState.COMPLETED, outage.submitted.reason
    assert ran(outage, "submitted") == "ran\n"
    (row,) = [row for row in outage.site.rows() if row.name == "submitted"]
    assert outage.site.found(row) == [row.job_id]
