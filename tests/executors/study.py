"""Definitions whose jobs are counted: each leaves a line with its name, the scheduler's id, and when it began and ended."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, JobResult, LocalTarget, hpc_asset

HOME = Path(os.environ.get("DAGSTER_HOME", "."))
FAULTS = HOME / "faults"  # the job (or the step after its jobs) of which a file there has the name fails once

_SCRIPT = """
began=$EPOCHREALTIME
sleep "${3:-0.2}"
while [ -e "$2/faults/$1.waits" ]; do sleep 0.1; done
printf '%s %s %s %s\\n' "$1" "$LOCAL_JOB_ID${LOCAL_ARRAY_INDEX:+_$LOCAL_ARRAY_INDEX}" "$began" "$EPOCHREALTIME" >>"$2/traces"
! rm "$2/faults/$1" 2>/dev/null
"""


def counted(name: str, seconds: str = "0.2") -> Command:
    """A job of this name that is counted."""
    return Command.shell(_SCRIPT, args=[name, str(HOME), seconds], name=name)


def fail_once(name: str) -> None:
    """Fail after the jobs, if the test says so."""
    if (FAULTS / name).exists():
        (FAULTS / name).unlink()
        raise RuntimeError(f"{name} is at fault")


hpc = HPCJobRunner(
    target=LocalTarget(poll_interval=0.3, spool=str(HOME / "spool"), cores=8),
    profiles={"small": ExecutionProfile(walltime="00:05:00")},
    work_root=str(HOME / "work"),
)


# -- assets


@hpc_asset(profile="small")
def upstream() -> Command:
    return counted("upstream")


def _collected(result: JobResult) -> str:
    fail_once("collect")
    return result.state.value


@hpc_asset(profile="small", collect=_collected)
def downstream(upstream: dict[str, str]) -> Command:
    return counted("downstream")


@hpc_asset(profile="small", retry_policy=dg.RetryPolicy(max_retries=2))
def retried() -> Command:
    return counted("retried")


@hpc_asset(profile="small", pool="narrow")
def pooled_a() -> Command:
    return counted("pooled_a", "1")


@hpc_asset(profile="small", pool="narrow")
def pooled_b() -> Command:
    return counted("pooled_b", "1")


@hpc_asset(profile="small", partitions_def=dg.StaticPartitionsDefinition(["x", "y", "z"]))
def partitioned(context: dg.AssetExecutionContext) -> Command:
    return counted(f"partitioned-{context.partition_key}")


# -- ops, several jobs in one step, graphs

Context = dg.OpExecutionContext


@dg.op
def one_job(context: Context, hpc: HPCJobRunner) -> str:
    return hpc.run(counted("one_job"), profile="small", context=context).state.value


@dg.op
def several_jobs(context: Context, hpc: HPCJobRunner) -> int:
    """Equal ones too: three samples of the same Monte Carlo are three jobs."""
    for name in ("several", "several", "several", "another"):
        hpc.run(counted(name), profile="small", context=context)
    fail_once("several_jobs")
    return 4


@dg.op
def jobs_in_threads(context: Context, hpc: HPCJobRunner) -> int:
    def run(name: str) -> JobResult:
        return hpc.run(counted(name), profile="small", context=context)

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(run, ["thread", *(f"thread-{number}" for number in range(6)), "thread"]))
    fail_once("jobs_in_threads")
    return len({result.handle.token for result in results})


@dg.op(out=dg.DynamicOut(int))
def fan() -> Any:
    for index in range(3):
        yield dg.DynamicOutput(index, mapping_key=f"m{index}")


@dg.op
def mapped(context: Context, index: int, hpc: HPCJobRunner) -> int:
    """Two of these are equal: only the mapping key tells them apart."""
    hpc.run(counted("mapped-other" if index == 1 else "mapped"), profile="small", context=context)
    return index


@dg.op
def gather(context: Context, indices: list[int], hpc: HPCJobRunner) -> None:
    hpc.run(counted("gather"), profile="small", context=context)


@dg.graph
def inner() -> str:
    return one_job.alias("deepest")()


@dg.graph
def outer() -> str:
    inner.alias("left")()
    return inner.alias("right")()


RESOURCES = {"hpc": hpc}


@dg.graph
def steps() -> None:
    one_job()
    several_jobs()
    jobs_in_threads()
    outer()
    gather(fan().map(mapped).collect())


in_process = steps.to_job("steps_in_process", resource_defs=RESOURCES, executor_def=dg.in_process_executor)
multiprocess = steps.to_job(
    "steps_multiprocess",
    resource_defs=RESOURCES,
    executor_def=dg.multiprocess_executor.configured({"max_concurrent": 3}),
)


@dg.op
def in_a_graph_asset(context: Context, hpc: HPCJobRunner) -> str:
    return hpc.run(counted("graph_asset"), profile="small", context=context).state.value


@dg.op
def and_after_it(context: Context, before: str, hpc: HPCJobRunner) -> str:
    return hpc.run(counted("graph_asset"), profile="small", context=context).state.value


@dg.graph_asset
def of_a_graph() -> str:
    return and_after_it(in_a_graph_asset())


@dg.graph_multi_asset(outs={"left": dg.AssetOut(), "right": dg.AssetOut()})
def of_a_wide_graph() -> dict[str, str]:
    return {"left": in_a_graph_asset.alias("for_left")(), "right": in_a_graph_asset.alias("for_right")()}


# -- what the daemon runs

chain = dg.define_asset_job("chain", selection=["upstream", "downstream"], executor_def=dg.in_process_executor)
sensed = dg.define_asset_job("sensed", selection=["retried"], executor_def=dg.in_process_executor)
every_partition = dg.define_asset_job("every_partition", selection=["partitioned"], executor_def=dg.in_process_executor)
retried_in_processes = dg.define_asset_job("retried_in_processes", selection=["retried"])
graphs = dg.define_asset_job("graphs", selection=["of_a_graph", "left", "right"])
pooled = dg.define_asset_job("pooled", selection=["pooled_a", "pooled_b"])


RUNNING = dg.DefaultSensorStatus.RUNNING


@dg.asset_sensor(
    asset_key=dg.AssetKey("downstream"), job=sensed, minimum_interval_seconds=1, default_status=RUNNING
)
def after_downstream(context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry) -> dg.RunRequest:
    return dg.RunRequest(run_key=str(asset_event.run_id))


@dg.sensor(job=chain, minimum_interval_seconds=1, default_status=RUNNING)
def when_asked(context: dg.SensorEvaluationContext) -> Any:
    """The test asks by a file."""
    for file in sorted(HOME.glob("asked/*")):
        yield dg.RunRequest(run_key=file.name, tags={"asked": file.name})


defs = dg.Definitions(
    assets=[upstream, downstream, retried, pooled_a, pooled_b, partitioned, of_a_graph, of_a_wide_graph],
    jobs=[in_process, multiprocess, chain, sensed, retried_in_processes, every_partition, graphs, pooled],
    sensors=[after_downstream, when_asked],
    resources=RESOURCES,
)


def job_named(name: str) -> dg.JobDefinition:
    """For `reconstructable`, which wants a function of a module."""
    return defs.resolve_job_def(name)
