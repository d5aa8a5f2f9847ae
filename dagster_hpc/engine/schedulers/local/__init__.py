"""The embedded batch system of `local_batch/`."""
