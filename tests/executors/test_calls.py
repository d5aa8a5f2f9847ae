"""Several jobs in one step: which call of an attempt is which call of the next one."""

import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg

from dagster_hpc import Command, HPCJobRunner
from dagster_hpc.resources.identity import CallCounter
from dagster_hpc.resources.step import Step
from dagster_hpc.testing import Play, PlayedRunner


def test_calls_in_another_order_are_the_same_jobs(tmp_path: Path) -> None:
    """The order of threads is another at each attempt: what had ended well ran again, once for each place it had lost."""
    hpc, orders = PlayedRunner(tmp_path), [["a", "b", "c", "a"], ["c", "a", "a", "b"]]
    hpc.play("*", Play())

    @dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
    def sweep(context: dg.OpExecutionContext, hpc: HPCJobRunner) -> None:
        for name in orders[context.retry_number]:
            hpc.run(Command("sample", args=[name]), profile="small", context=context)
        if context.retry_number == 0:
            raise RuntimeError("after its jobs")

    @dg.job(resource_defs={"hpc": hpc})
    def study() -> None:
        sweep()

    assert study.execute_in_process().success
    assert Counter(job.args[0] for job in hpc.submitted) == {"a": 2, "b": 1, "c": 1}


def test_no_two_threads_get_the_same_number() -> None:
    """Then the second of two equal calls would join the job of the first."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        calls, step, start = CallCounter(), Step("run", "step", "step", 0, "job", ""), threading.Barrier(8)

        def many(_: int) -> list[int]:
            start.wait()
            return [calls.next(step, "work") for _ in range(2000)]

        with ThreadPoolExecutor(8) as threads:
            numbers = [number for each in threads.map(many, range(8)) for number in each]
    finally:
        sys.setswitchinterval(before)
    assert sorted(numbers) == list(range(16000))
