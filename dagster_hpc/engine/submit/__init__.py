"""Submitting a job exactly once: claim it in the ledger, send it, and settle what a crash has left open."""
