"""The durable table of jobs: written before a job is submitted, read by everything that looks for one."""

from dagster_hpc.engine.ledger.ledger import Change, JobRow, Ledger

__all__ = ["Change", "JobRow", "Ledger"]
