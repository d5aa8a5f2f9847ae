"""One record of Slurm's accounting, of a job or of a step: its fields, and the figures in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from dagster_hpc.engine.job import JobMetrics

# The name comes last: it is the only field that could hold the separator.
HISTORY_FIELDS = (
    "JobID", "State", "ExitCode", "Reason", "Submit", "Eligible", "Start", "End", "ElapsedRaw", "NNodes", "NCPUS",
    "NodeList", "TotalCPU", "UserCPU", "SystemCPU", "MaxRSS", "MaxVMSize", "MaxDiskRead", "MaxDiskWrite",
    "ConsumedEnergyRaw", "AllocTRES", "ReqMem", "DerivedExitCode", "TRESUsageInTot", "Cluster", "JobName",
)  # fmt: skip


def parsed(line: str) -> dict[str, str] | None:
    """The record in a line that sacct prints of `HISTORY_FIELDS`; None if it is no such line."""
    cells = line.split("|", len(HISTORY_FIELDS) - 1)
    return dict(zip(HISTORY_FIELDS, cells, strict=True)) if len(cells) == len(HISTORY_FIELDS) else None


def job_and_step(record: Mapping[str, str]) -> tuple[str, str]:
    """`7_1.0` → the job, and which of its steps this is: a number, or `batch`; '' for the job itself."""
    shown = record["JobID"]
    job_id, _, step = (shown, "", "") if shown.endswith("]") else shown.partition(".")
    return job_id, step


def history_metrics(record: dict[str, str], steps: list[dict[str, str]]) -> JobMetrics:
    """What a job cost; `steps` are its own records, or those of its steps: memory is counted there."""
    # A job that was cancelled while it waited has a start time all the same, but never had a node.
    ran = time_of(record["Start"]) is not None and record["NodeList"] not in ("", "None assigned")
    started, ended = time_of(record["Start"]) if ran else None, time_of(record["End"])
    eligible = time_of(record["Eligible"])
    peaks = [size for step in steps if (size := bytes_of(step["MaxRSS"])) is not None]
    energy = integer(record["ConsumedEnergyRaw"])
    metrics = JobMetrics(
        submitted_at=time_of(record["Submit"]),
        started_at=started,
        ended_at=ended,
        queue_wait_s=started - eligible if started is not None and eligible is not None else None,
        elapsed_s=float(record["ElapsedRaw"]) if ran and record["ElapsedRaw"].isdigit() else None,
        cpu_time_s=cpu_seconds(record["TotalCPU"]) if ran else None,
        max_rss_mib=max(peaks) / 2**20 if peaks else None,
        energy_j=float(energy) if energy else None,  # 0 where the site has no power meter
        nodes=integer(record["NNodes"]) if ran else None,
        cores=integer(record["NCPUS"]) if ran else None,
        node_list=record["NodeList"] if ran else None,
        raw={name: value for name, value in record.items() if value not in ("", "Unknown")},
    )
    disk = {
        name: max((step[name] for step in steps), default="") for name in ("MaxDiskRead", "MaxDiskWrite", "MaxVMSize")
    }
    return replace(metrics, raw={**metrics.raw, **{name: value for name, value in disk.items() if value}}).derived()


def time_of(text: str) -> float | None:
    """Slurm prints local time without a zone: `2026-11-20T06:07:12`; or a word, as N/A and Unknown.

    `strptime` would take half of all the time in which a long queue is read.
    """
    if len(text) != 19 or text[10] != "T" or text[16] != ":":  # `fromisoformat` takes other forms, too
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def integer(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def bytes_of(text: str) -> float | None:
    """`71072K`, `1.2G`, or plain bytes with --noconvert."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)([KMGT]?)", text, re.ASCII)
    return float(match[1]) * 1024 ** " KMGT".index(match[2] or " ") if match else None


def cpu_seconds(text: str) -> float | None:
    """`1-02:03:04`, `02:03:04` or `03:04.567`."""
    match = re.fullmatch(r"(?:(\d{1,9})-)?(?:(\d{1,9}):)?(\d{1,9}):(\d{1,9}(?:\.\d{1,9})?)", text, re.ASCII)
    if not match:
        return None
    days, hours, minutes = (int(part or 0) for part in match.groups()[:3])
    return days * 86400 + hours * 3600 + minutes * 60 + float(match[4])
