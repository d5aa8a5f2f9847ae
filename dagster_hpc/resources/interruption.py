"""What becomes of a runner's jobs when somebody or something interrupts the wait for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from dagster_hpc.engine.errors import LedgerUnavailable, SchedulerUnavailable
from dagster_hpc.engine.job import JobHandle
from dagster_hpc.resources.step import Context, step_of, user_terminated

if TYPE_CHECKING:
    from dagster_hpc.resources.job_runner import HPCJobRunner


@contextmanager
def interruptible(hpc: HPCJobRunner, handles: Sequence[JobHandle], context: Context | None) -> Iterator[None]:
    """A user who terminates the run means its jobs too; a restart or a crash does not.

    Only what this run has submitted is cancelled: a job that it joined goes on for those who wait for it.
    """
    try:
        yield
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        if hpc.on_interrupt == "cancel" and user_terminated(context):
            _cancel_for(hpc, handles, context)
        elif context:
            context.log.warning("interrupted; the job goes on, and the next attempt takes it over")
        raise


def _cancel_for(hpc: HPCJobRunner, handles: Sequence[JobHandle], context: Context | None) -> None:
    """Cancel the jobs of a run that was terminated, and tell in its log what became of that."""
    try:
        mine = _submitted_here(hpc, handles, context)
        gone = hpc._engine().cancel(mine)
        if mine:
            said = "its job was cancelled" if gone else "its job was told to end, and has not been seen to end yet"
        else:
            said = "it had only joined its job, which goes on"
    except (SchedulerUnavailable, LedgerUnavailable) as error:
        gone, said = False, f"its job is to be cancelled, but {error}"
    if context:
        (context.log.info if gone else context.log.warning)(f"the run was terminated: {said}")


def _submitted_here(hpc: HPCJobRunner, handles: Sequence[JobHandle], context: Context | None) -> list[JobHandle]:
    """Those of these jobs that this run (or this script) has asked for first, and submissions broken off now."""
    step, ledger = step_of(context), hpc._engine().ledger
    if step is None:
        return [handle for handle in handles if not handle.joined]
    mine = [row for row in ledger.jobs(live=True, run_id=step.run_id) if row.step_key == step.step_key]
    if handles:  # of a job that is tried again it is another attempt that lives
        chains = {row.chain for row in mine}
        ours = {row.token for row in ledger.rows([handle.token for handle in handles]) if row.chain in chains}
        return [handle for handle in handles if handle.token in ours]
    return [row.handle() for row in mine if not row.state.is_submitted]
