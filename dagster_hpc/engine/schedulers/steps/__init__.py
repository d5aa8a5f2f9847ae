"""The steps of an allocation: the queue of `step_batch/`."""
