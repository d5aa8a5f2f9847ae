"""Submitting a job exactly once."""

from dagster_hpc.engine.submit.send import find, place, recover, revoke, submit

__all__ = ["find", "place", "recover", "revoke", "submit"]
