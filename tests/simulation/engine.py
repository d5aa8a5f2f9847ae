"""The real engine in the simulated world: where the two touch, and nowhere else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from dagster_hpc.engine.ledger import Ledger
from dagster_hpc.engine.runner import Runner
from dagster_hpc.engine.target import Listener, Patience, Target
from tests.simulation.cluster import Cluster
from tests.simulation.database import SimulatedDatabase, Storage
from tests.simulation.files import Files, SimulatedHost
from tests.simulation.time import Process, SimulatedClock, Time

TEMPLATE = str(Path(__file__).with_name("job.sim.j2"))
PATIENCE = Patience(
    file_delay_s=60.0, accounting_delay_s=5.0, epilogue_s=60.0, lost_after_s=300.0, unavailable_s=300.0, recheck_s=30.0,
    capacity_retry_s=15.0, owner_silent_s=120.0, slowest_poll_s=60.0, cancel_s=5.0,
)  # fmt: skip


def runner_of(process: Process, storage: Storage, files: Files, cluster: Cluster, room: int | None) -> Runner:
    """What a process of an orchestrator has in hand."""
    clock = SimulatedClock(process)
    host = SimulatedHost(process, files, cluster.execute)
    target = Target(
        "sim", cluster.scheduler, host, poll_interval_s=20.0, max_jobs=room, template=TEMPLATE, patience=PATIENCE
    )
    ledger = Ledger(clock=clock, database=SimulatedDatabase(storage, clock))
    return Runner(target, ledger, Listener(on_warning=process.time.note), clock)


@contextmanager
def simulated_processes(time: Time) -> Iterator[None]:
    """Who a process is, and whether it lives, as the simulation knows it."""
    count = [0]

    def new_owner() -> str:
        count[0] += 1
        process = time.current
        return f"{process.host} {process.name} 0 boot {count[0]}" if process else f"nowhere {count[0]}"

    def process_lives(owner: str) -> bool | None:
        words = owner.split(" ")
        if len(words) < 2:
            return False
        if time.current is not None and words[0] != time.current.host:
            return None
        return any(process.name == words[1] and not process.over and not process.dead for process in time.processes)

    letters = random.Random(time.seed)
    with (
        patch("dagster_hpc.engine.ledger.claims.secrets", SimpleNamespace(choice=letters.choice)),
        patch("dagster_hpc.engine.submit.claim.new_owner", new_owner),
        patch("dagster_hpc.engine.submit.recover.new_owner", new_owner),
        patch("dagster_hpc.engine.submit.again.new_owner", new_owner),
        patch("dagster_hpc.engine.observe.poll.new_owner", new_owner),
        patch("dagster_hpc.engine.ledger.leases.process_lives", process_lives),
        patch("dagster_hpc.engine.submit.recover.process_lives", process_lives),
        patch("dagster_hpc.engine.report.new_owner", new_owner),
        patch("dagster_hpc.engine.step_figures.new_owner", new_owner),
        patch("dagster_hpc.engine.report.process_lives", process_lives),
    ):
        yield
