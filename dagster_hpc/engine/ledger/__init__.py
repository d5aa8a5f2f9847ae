"""The durable table of jobs: written before a job is submitted, read by everything that looks for one.

SQLAlchemy Core on SQLite (one host) or any other database by URL, PostgreSQL for several orchestrator hosts.
`claims` says who submits a job, `observations` what became of it, `deliveries` who has received its result, `leases`
who may ask the scheduler, `rooms` what that takes, `reports` what is owed to Dagster without a run, `notices` what those
who watch jobs were told, `quantum` the jobs of quantum computers. Each of them is a few transactions, and each
transaction may be repeated.
"""

from dagster_hpc.engine.ledger.deliveries import Recipient
from dagster_hpc.engine.ledger.ledger import Ledger
from dagster_hpc.engine.ledger.notices import Subject, end_of
from dagster_hpc.engine.ledger.reports import Report
from dagster_hpc.engine.ledger.rows import Change, JobRow

__all__ = ["Change", "JobRow", "Ledger", "Recipient", "Report", "Subject", "end_of"]
