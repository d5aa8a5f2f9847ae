"""The figures of the steps that a job has started inside itself by srun, as Slurm's accounting has them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.job import JobMetrics, JobState
from dagster_hpc.engine.schedulers.slurm.records import history_metrics, job_and_step, parsed
from dagster_hpc.engine.schedulers.slurm.words import ACCOUNTING_OFF, state_of

_GATHERS = re.compile(r"^JobAcctGatherFrequency\s*=\s*(\S+)", re.M)
_USUAL_S = 30  # between two samples, where the configuration does not say


def read(answers: Sequence[Answer], names: Collection[str]) -> Mapping[str, JobMetrics] | None:
    """The figures of those of these steps that are over, from what sacct and `scontrol show config` have answered.

    Nothing where one of them failed; None where there is no accounting.
    """
    accounting, config = answers
    if ACCOUNTING_OFF in accounting.words:
        return None
    if any(answer.code != 0 for answer in answers):
        return {}
    interval_s = sampling_interval_s(config.stdout)
    records = [record for line in accounting.stdout.splitlines() if (record := parsed(line))]
    steps = [record for record in records if record["JobName"] in names and job_and_step(record)[1].isdigit()]
    named = Counter(step["JobName"] for step in steps)  # of two under one name, neither is known for sure
    return {
        step["JobName"]: _figures(step, interval_s)
        for step in steps
        if named[step["JobName"]] == 1 and state_of(step["State"]).is_final
    }


def sampling_interval_s(config: str) -> int | None:
    """Every how many seconds Slurm looks at the memory of a program: `30`, or `energy=60,task=15`. None: never."""
    said = _GATHERS.search(config)
    words = [word.rpartition("=") for word in said[1].split(",")] if said else []
    told = [number for kind, _, number in words if kind in ("", "task") and number.isdigit()]
    return (int(told[-1]) if told else _USUAL_S) or None


def _figures(step: dict[str, str], interval_s: int | None) -> JobMetrics:
    """Those that are this step's own: its nodes, and their energy, it shares with others."""
    told = history_metrics(step, [step])
    # Of a program that was killed, those that it had started are not counted; 0 is told where nothing is.
    ended_itself = state_of(step["State"]) in (JobState.COMPLETED, JobState.FAILED) and step["ExitCode"].endswith(":0")
    # The first sample is taken before the program is there. Elapsed seconds are whole, and may be one too many.
    was_sampled = interval_s is not None and (told.elapsed_s or 0.0) > interval_s
    return JobMetrics(
        cpu_time_s=(told.cpu_time_s or None) if ended_itself else None,
        max_rss_mib=(told.max_rss_mib or None) if was_sampled else None,
        node_list=told.node_list,
        raw=told.raw,
    )
