"""A call that is under way: what finds its value, in the manner of concurrent.futures."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any, NoReturn

from dagster_hpc.engine.clock import SYSTEM_CLOCK
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobFailed, JobHandle, JobResult, WaitTimeout, failure_of
from dagster_hpc.engine.target import Listener
from dagster_hpc.python_calls.outcome import VALUE_PATH, CallFailed, error_of, value_of
from dagster_hpc.resources.interruption import interruptible
from dagster_hpc.resources.step import Context, as_dagster_failure

if TYPE_CHECKING:
    from dagster_hpc.engine.ledger import JobRow
    from dagster_hpc.resources.job_runner import HPCJobRunner

_LOOK_S = 10.0  # for which `done` waits for a scheduler that does not answer


@dataclass(frozen=True, eq=False)
class CallFuture:
    """A function that was submitted by `hpc.submit_call`. Among the arguments of another call it stands for its value.

    The job needs no process that waits: the same submission, made again later, finds it. `handle` names it.

    Example:
        future: CallFuture = hpc.submit_call(math.gcd, 12, 18, profile="small", key="today")
        print(future.handle.job_id, future.done())
        assert future.result() == 6
    """

    hpc: HPCJobRunner
    handle: JobHandle
    called: str  # the name of the function
    context: Context | None = None
    before: Sequence[CallFuture] = ()  # those whose values it needs, and that were not over when it was submitted

    def __str__(self) -> str:
        return f"the future of {self.called} (job {self.handle.job_id or self.handle.token})"

    def result(self, timeout: float | None = None) -> Any:
        """What the function returned, once it has; what it raised is raised here, with `CallFailed` as its cause.

        After `timeout` seconds `WaitTimeout`: the job goes on.
        """
        until = None if timeout is None else SYSTEM_CLOCK.monotonic() + timeout
        with interruptible(self.hpc, [self.handle], self.context):
            failed = self._failed_before(until)
        if failed is not None:
            self.cancel()  # some systems let a job wait for ever whose predecessor has failed
        (result,) = self.hpc.wait_all([self.handle], context=self.context, timeout=_left(until))
        if not result.succeeded:
            error = failure_of(_never_begun(result, failed)) if failed else error_of(result, self.hpc.concealed)
            _raise(error, self.context)
        return value_of(result)

    def exception(self, timeout: float | None = None) -> Exception | None:
        """What `result` would raise, or None; `WaitTimeout` is raised here too, for then it is not known."""
        try:
            self.result(timeout)
        except WaitTimeout:
            raise
        except Exception as error:  # noqa: BLE001  # a user's function may raise anything
            return error
        return None

    def done(self) -> bool:
        """Whether it is over, well or not."""
        self.hpc.polled(_LOOK_S)
        return self.is_over()

    def is_over(self) -> bool:
        """The same by what is known already: nobody is asked."""
        return self._row().is_over

    def cancel(self) -> None:
        """Cancel its job; nothing happens to one that is over."""
        self.hpc.cancel(self.handle)

    def _row(self) -> JobRow:
        return self.hpc._engine().ledger.last_attempts([self.handle.token])[self.handle.token]

    def _failed_before(self, until: float | None) -> CallFuture | None:
        """The first of the calls before it, and before those, that has ended badly; they are waited for."""
        engine, calls = self.hpc._engine(), _in_order(self)
        known = engine.ledger.last_attempts([call.handle.token for call in calls]) if len(calls) > 1 else {}
        if known and known[self.handle.token].state.is_success:
            return None
        for call in calls[:-1]:
            row = known[call.handle.token]
            if not row.is_over:
                row = engine.follow(call.handle, Listener(), timeout_s=_left(until))
            if not row.state.is_success:
                return call
        return None


def _in_order(last: CallFuture) -> list[CallFuture]:
    """A call and all before it, each after those whose values it needs."""
    needs: dict[CallFuture, Sequence[CallFuture]] = {}
    found = [last]
    while found:
        call = found.pop()
        if call not in needs:
            needs[call] = call.before
            found += call.before
    return list(TopologicalSorter(needs).static_order())


def values_of(futures: Sequence[CallFuture], timeout: float | None, *, return_exceptions: bool) -> list[Any]:
    """The values of calls that were submitted as one array. If any failed, the first is told when all are over."""
    if not futures:
        return []
    hpc, context = futures[0].hpc, futures[0].context
    results = hpc.wait_all([future.handle for future in futures], context=context, timeout=timeout)
    failed = ((index, result) for index, result in enumerate(results) if not result.succeeded)
    errors = {index: error_of(result, hpc.concealed) for index, result in failed}
    if errors and not return_exceptions:
        _raise(next(iter(errors.values())), context)
    return [_as_raised(errors[index]) if index in errors else value_of(result) for index, result in enumerate(results)]


def _raise(error: JobFailed, context: Context | None) -> NoReturn:
    """Outside Dagster what the function itself has raised; in a step a failure that shows it."""
    if context is None:
        raise _as_raised(error)
    with as_dagster_failure(context):
        raise error


def _as_raised(error: JobFailed) -> Exception:
    raised = error.exception if isinstance(error, CallFailed) else None
    if raised is None:
        return error
    raised.__cause__ = error  # which holds the traceback on the node, and the job
    return raised


def taken_over(future: CallFuture) -> tuple[str, tuple[str, str]]:
    """What stands for the value of this call among the arguments of another: where its file will be."""
    row = future._row()
    if row.is_over and not row.state.is_success:
        raise ConfigurationError(
            f"{future} stands among the arguments, and that call ended as {row.state}: it has no value",
            advice="see its result() for why.",
            work_dir=row.work_dir,
        )
    called = f"{future.called} (job {row.job_id or row.token})"
    return "value", (posixpath.join(row.runs_in, VALUE_PATH), called)


def _never_begun(result: JobResult, failed: CallFuture) -> JobResult:
    row = failed._row()
    reason = f"it needs the value of {failed.called} (job {row.job_id or row.token}), which ended as {row.state}"
    return replace(result, reason=f"{reason}: {row.reason}" if row.reason else reason)


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - SYSTEM_CLOCK.monotonic())
