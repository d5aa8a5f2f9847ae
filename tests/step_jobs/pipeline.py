"""Definitions that know nothing of batch jobs. Each step leaves a line with its key and the job in which it ran."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from dagster_hpc import (
    Command,
    ExecutionProfile,
    HPCJobRunner,
    HPCTarget,
    LocalTarget,
    RetryRule,
    SlurmTarget,
    hpc_asset,
    hpc_executor,
)

Context = dg.OpExecutionContext
ACCOUNT = "STEP_JOBS_ACCOUNT"  # of the real Slurm, if the jobs go there
PASSWORD = "STEP_JOBS_PASSWORD"


def home() -> Path:
    return Path(os.environ["DAGSTER_HOME"])


def leave_trace(context: Context | dg.AssetExecutionContext) -> None:
    job_id = os.environ.get("SLURM_JOB_ID") or os.environ.get("LOCAL_JOB_ID")
    step = context if isinstance(context, dg.OpExecutionContext) else context.op_execution_context
    with open(home() / "traces", "a") as file:
        file.write(f"{step.get_step_execution_context().step.key} {job_id}\n")


def wait_for_release(name: str) -> None:
    """Wait until the test makes this file."""
    while not (home() / name).exists():
        time.sleep(0.1)


# -- assets


@dg.asset
def numbers(context: dg.AssetExecutionContext) -> list[int]:
    leave_trace(context)
    return [1, 2, 3]


@dg.asset(op_tags={"dagster_hpc/profile": "wide", "dagster_hpc/overrides": {"walltime": "00:09:00"}})
def doubled(context: dg.AssetExecutionContext, numbers: list[int]) -> list[int]:
    leave_trace(context)
    return [2 * number for number in numbers]


@hpc_asset(profile="small", outputs={"answer": "answer.txt"})
def submitted() -> Command:
    return Command.shell("echo 42 >answer.txt")


@dg.asset(op_tags={"dagster_hpc/profil": "wide"})
def misspelled() -> None: ...


@dg.asset(op_tags={"dagster_hpc/overrides": {"waltime": "1h"}})
def mistyped() -> None: ...


# -- ops


@dg.op(out=dg.DynamicOut(int))
def fan(context: Context) -> Iterator[dg.DynamicOutput[int]]:
    leave_trace(context)
    for index in range(3):
        yield dg.DynamicOutput(index, mapping_key=f"m{index}")


@dg.op
def squared(context: Context, index: int) -> int:
    leave_trace(context)
    return index**2


@dg.op
def gathered(context: Context, squares: list[int]) -> int:
    leave_trace(context)
    return sum(squares)


@dg.job
def fanned() -> None:
    gathered(fan().map(squared).collect())


@dg.op(retry_policy=dg.RetryPolicy(max_retries=2))
def flaky(context: Context) -> int:
    leave_trace(context)
    if context.retry_number < 1:
        raise ValueError("not at the first attempt")
    return context.retry_number


@dg.op
def patient(context: Context) -> str:
    leave_trace(context)
    wait_for_release("released")
    return "released"


@dg.op
def after(context: Context, before: str) -> None:
    leave_trace(context)


@dg.job
def chain() -> None:
    after(patient())


@dg.op
def slow(context: Context) -> None:
    """Is done in time only in the second job of this place, which has more of it."""
    leave_trace(context)
    if os.environ["LOCAL_JOB_ID"] == "1":
        wait_for_release("released")


@dg.op
def silent(context: Context) -> None:
    """Ends well, and tells nobody."""
    leave_trace(context)
    os.write(2, b"gone without a word\n")
    os._exit(0)


@dg.op
def tells_secret(context: Context) -> None:
    print(f"the password is {os.environ[PASSWORD]}")
    assert os.environ[PASSWORD] == "open sesame"


OPS = {name: dg.GraphDefinition(name=f"{name}_job", node_defs=[op]) for name, op in {
    "flaky": flaky, "patient": patient, "slow": slow, "silent": silent, "tells_secret": tells_secret,
}.items()}  # fmt: skip


def runner() -> HPCJobRunner:
    target: HPCTarget = LocalTarget(poll_interval=0.3, spool=str(home() / "spool"), cores=8, file_delay=3.0)
    if (home() / "narrow").exists():
        target = target.model_copy(update={"max_jobs": 1})
    if account := os.environ.get(ACCOUNT):
        target = SlurmTarget(queue_cpu="cpu", project_cpu=account, poll_interval=1.0)
    return HPCJobRunner(
        target=target,
        profiles={
            "small": ExecutionProfile(walltime="00:05:00", memory_per_node="600M"),
            "wide": ExecutionProfile(walltime="00:05:00", memory_per_node="600M", mpiprocs=2, launcher="mpirun"),
        },
        work_root=str(home() / "work"),
        retry=[RetryRule(on=["TIMEOUT"], walltime=50)] if (home() / "retries").exists() else [],
    )


def defs() -> dg.Definitions:
    hpc = runner()
    return dg.Definitions(
        assets=[numbers, doubled, submitted, misspelled, mistyped],
        jobs=[
            fanned, chain, *(graph.to_job() for graph in OPS.values()),
            dg.define_asset_job("assets", ["numbers", "doubled"]),
            dg.define_asset_job("jobs_in_jobs", ["submitted"]),
            dg.define_asset_job("faulty", ["numbers", "misspelled", "mistyped"]),
        ],
        resources={"hpc": hpc},
        executor=hpc_executor(hpc, profile="small", env_vars=[name for name in (ACCOUNT, PASSWORD) if name in os.environ]),
    )  # fmt: skip


def job_named(name: str, place: str) -> dg.JobDefinition:
    """`place` is DAGSTER_HOME: Dagster keeps what it has reconstructed, by these arguments."""
    assert place == str(home())
    return defs().resolve_job_def(name)
