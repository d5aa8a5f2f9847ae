"""Elements of an array that have identities of their own: each is taken, begun anew or given up by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dagster_hpc.engine.job import JobState, Own, Request
from dagster_hpc.engine.ledger import Recipient
from tests.engine.test_findings import HOUR, SPEC, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def elements(world: World, *own: Own) -> Request:
    spec = replace(SPEC, elements=tuple((one.partition_key or "",) for one in own))
    return world.request(spec=spec, identity=None, own=own)


def test_one_that_is_lost_holds_up_none_of_the_others(world: World) -> None:
    """It kept its identity, and the whole request failed for it."""
    (gone,) = world.process().submit(world.request(identity="of x"))
    (world.host.folder / "jobs.json").write_text("{}")
    world.somebody_else_looks(gone, JobState.LOST)
    x, y = world.process().submit(elements(world, Own("of x", "x"), Own("of y", "y")))
    assert (x.token, x.joined, y.joined) == (gone.token, True, False)
    assert world.process().wait([x], timeout_s=HOUR)[0].state is JobState.LOST
    assert [(row.state, row.partition_key) for row in world.ledger.jobs(live=True)] == [(JobState.PENDING, "y")]


@pytest.mark.parametrize(("received", "taken"), [(False, True), (True, False), (None, False)])
def test_one_may_have_been_received_though_its_step_failed_for_others(
    world: World, received: bool | None, taken: bool
) -> None:
    runner = world.process()
    (first,) = runner.submit(world.request(identity="of x"))
    world.run_to_its_end(first)
    runner.wait([first], timeout_s=HOUR, recipient=Recipient("run", "step"))
    request = elements(world, Own("of x", "x", received=lambda run_id, step_key: received), Own("of y", "y"))
    x, _ = world.process().submit(replace(request, received=lambda run_id, step_key: False))
    assert (x.token == first.token) is x.joined is taken


def test_what_was_delivered_for_good_is_new_work_when_it_is_asked_for_again(world: World) -> None:
    runner = world.process()
    (first,) = runner.submit(world.request(identity="of x"))
    world.run_to_its_end(first)
    runner.wait([first], timeout_s=HOUR, recipient=Recipient("run", "step"))
    runner.delivered([first])
    (again,) = runner.submit(world.request(identity="of x", received=lambda run_id, step_key: False))
    assert again.token != first.token
