"""`python -m tests.faults.campaign --faults 500 --seed 7`: a cluster of its own, faults, and the table of what they did."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.faults.campaign.campaign import Campaign, Settings
from tests.systems.needs import place_for
from tests.systems.postgres import PostgresServer
from tests.systems.slurm import SlurmCluster


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__)
    parser.add_argument("--faults", type=int, default=500, help="so many, at least")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--ledger", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--side-by-side", type=int, default=8, help="so many keys are wanted at the same time")
    parser.add_argument("--max-jobs", type=int, help="the target takes no more live jobs")
    parser.add_argument("--keep", type=Path, help="a folder for ledger, traces and the clients' own words")
    asked = parser.parse_args()
    with ExitStack() as stack:
        cluster = SlurmCluster(stack.enter_context(place_for("slurm")))
        cluster.start()
        database = None
        if asked.ledger == "postgres":
            database = PostgresServer(stack.enter_context(place_for("postgres")))
            database.start()
        folder = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dagster-hpc-campaign-")))
        settings = Settings(asked.faults, asked.seed, asked.side_by_side, asked.max_jobs)
        report = Campaign(settings, folder, cluster, database).run()
    print(f"\nseed {asked.seed}, ledger {asked.ledger}\n{report.table}")
    return 1 if report.findings.violations else 0


if __name__ == "__main__":
    sys.exit(main())
