"""What one look of the sensor costs: ten thousand detached jobs under way, and some that have ended at once.

The queue is pretended, as in `waiting`; ledger, Dagster's event log and the sensor are real.
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path

import dagster as dg

from benchmarks.table import Row, show
from benchmarks.waiting import Lab
from dagster_hpc import Command, hpc_asset
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import Report, schema
from dagster_hpc.resources.deployment import deployment_of
from dagster_hpc.sensors.orphans import settle_orphans
from dagster_hpc.sensors.reporting import DagsterReports

JOBS, ENDED = 10_000, 50
BUDGET_S = 2.0


@hpc_asset(profile="any", detached=True)
def trajectory() -> Command:
    return Command("/bin/true")


def owed(folder: Path, jobs: int, instance: dg.DagsterInstance) -> Lab:
    """So many jobs, each submitted by a run of its own and to be reported."""
    lab = Lab(folder, jobs, JobState.RUNNING)
    ours = deployment_of(instance)
    values = {"run_id": "run of " + schema.JOBS.c.token, "step_key": "trajectory", "asset_key": "trajectory"}
    lab.ledger._database.write(lambda connection: connection.execute(schema.JOBS.update().values(**values)))
    lab.ledger.reports.add(
        [Report((row.token,), row.target, ours, "trajectory", f"run of {row.token}", "trajectory") for row in lab.rows]
    )
    lab.poll()
    return lab


def look(lab: Lab, instance: dg.DagsterInstance, within_s: float = 600.0) -> tuple[float, int]:
    """One look of the sensor, the question to the scheduler included: seconds of CPU, and how many were reported."""
    begun = time.process_time()
    addressee = DagsterReports(instance, {trajectory.key: trajectory})
    lab.poll()
    settle_orphans(lab.runner, instance, addressee.asset_keys, after_s=0.0, cancel=False)
    said = lab.runner.report(addressee, within_s=within_s)
    return time.process_time() - begun, len(said.outcomes)


def end(lab: Lab, count: int) -> None:
    """These jobs have come to their end; the queue does not show them any more."""
    for row in lab.rows[:count]:
        protocol = Path(row.work_dir) / ".job"
        protocol.joinpath("started").write_text(f"{time.time() - 1} {row.job_id} node1\n")
        protocol.joinpath("exit_code").write_text(f"0 {time.time()}\n")
        del lab.queue.shown[row.job_id or ""]


def main() -> None:
    logging.disable(logging.ERROR)  # each of the reports says a line
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        dg.DagsterInstance.local_temp(folder) as instance,
    ):
        lab = owed(Path(folder), JOBS, instance)
        lab.queue.commands.clear()
        seconds = min(look(lab, instance)[0] for _ in range(3))
        commands = lab.queue.commands["squeue"] / 3
        end(lab, ENDED)
        with_ends_s, done = 0.0, 0
        while done < ENDED:
            took, now = look(lab, instance)
            if now:  # until the accounts are in, a look reports nothing
                with_ends_s, done = with_ends_s + took - seconds, done + now
        each_ms = with_ends_s / ENDED * 1000
    show(
        "Detached jobs",
        [
            Row(f"one look of the sensor at {JOBS} detached jobs under way", f"{seconds:.2f} s CPU, {commands:g} squeue",
                f"{BUDGET_S:g} s, as we want it at most", seconds / BUDGET_S, 1),
            Row(f"the same when {ENDED} of them have ended: each report", f"{each_ms:.0f} ms CPU", ""),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
