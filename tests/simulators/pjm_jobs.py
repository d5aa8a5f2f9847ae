"""What the simulated PJM says of one job: a row of its tables, its record, and the statistics that it writes beside it."""

from __future__ import annotations

import time
from pathlib import Path

from tests.simulators.embedded import FINAL, Embedded, Job

ENDED = ("EXT", "CCL", "RJT")
_LIVE = {"PENDING": "QUE", "HELD": "HLD", "RUNNING": "RUN"}
_LATE_S = 3.0


def local(job_id: str) -> str:
    """`12[3]` → `12_3`."""
    return job_id.replace("[", "_").rstrip("]")


def row_of(system: Embedded, job: Job) -> dict[str, str]:
    notes = job["notes"]
    job_id = job["array_id"] if job["index"] is None else f"{job['array_id']}[{job['index']}]"
    started = _date(job["started_at"]) if job["begun"] and job["started_at"] else "(11/20 07:00)"
    return {
        "JOB_ID": job_id, "JOB_NAME": job["name"], "MD": "NM" if job["index"] is None else "BU",
        "USER": "u10001", "GROUP": "hp200999", "START_DATE": started,
        "ELAPSE_TIM": "0000:00:01", "ELAPSE_LIM": "0000:10:00", "NODE_REQUIRE": "1",
        "LST": "RNO", "PRI": "127", "ACCEPT": _date(job["submitted_at"]),
        "RSC_GRP": "small-s5" if system.is_on("moved") else notes.get("rscgrp", "small"),
        "REASON": "-", **_state(job),
    }  # fmt: skip


def _state(job: Job) -> dict[str, str]:
    state, none = job["state"], {"EC": "-", "PC": "-", "SN": "-"}
    if job["end"] and state in FINAL:
        return {**none, **job["end"]}
    if state not in FINAL:
        if job["held"]:
            return {**none, "ST": "ERR" if job["notes"].get("rscgrp") == "broken" else "HLD"}
        return {**none, "ST": _LIVE.get(state, "QUE")}
    if state == "CANCELLED":
        return {**none, "ST": "CCL", "PC": "1"}
    if state == "TIMEOUT":
        return {"ST": "EXT", "EC": "-", "PC": "11", "SN": "24"}
    if state == "OOM":
        return {"ST": "EXT", "EC": "-", "PC": "12", "SN": "9"}
    if job["signal"]:
        return {"ST": "EXT", "EC": "-", "PC": "0", "SN": str(job["signal"])}
    return {"ST": "EXT", "EC": str(job["exit_code"] or 0), "PC": "0", "SN": "-"}


def _date(seconds: float) -> str:
    return time.strftime("%m/%d %H:%M:%S", time.localtime(seconds))


def record(job: Job, row: dict[str, str]) -> str:
    """What `-s` prints of a job, and -S leaves in a file when it has ended; why a job is in error stands only here."""
    reason = "GATE CHECK" if row["ST"] == "ERR" else row["REASON"]
    lines = {
        "JOB ID": row["JOB_ID"], "JOB NAME": row["JOB_NAME"], "RESOURCE GROUP": row["RSC_GRP"], "STATE": row["ST"],
        "EXIT CODE": row["EC"], "SIGNAL NO": row["SN"], "PJM CODE": row["PC"], "REASON": reason,
        "ACCEPT DATE": _stamp(job["submitted_at"]), "JOB START DATE": "-", "JOB END DATE": "-",
    }  # fmt: skip
    if job["begun"] and row["ST"] in ENDED:
        took = int(job["ended_at"] - job["started_at"])
        rss = job["max_rss_mib"] or 0
        lines |= {
            "JOB START DATE": _stamp(job["started_at"]), "JOB END DATE": _stamp(job["ended_at"]),
            "NODE NUM (ALLOC)": job["notes"]["resources"].get("node", "1"),
            "ELAPSE TIME (USE)": f"{took // 3600:02d}:{took // 60 % 60:02d}:{took % 60:02d} ({took})",
            "USER CPU TIME (USE)": f"{int(1000 * (job['cpu_user_s'] or 0))} ms",
            "SYSTEM CPU TIME (USE)": f"{int(1000 * (job['cpu_system_s'] or 0))} ms",
            "MAX MEMORY SIZE (USE)": f"{rss:.1f} MiB ({int(2**20 * rss)})",
            "ENERGY CONSUMPTION OF NODE (MEASURED)": "0.125 Wh",
        }  # fmt: skip
    return "\n".join([" [Job Statistical Information]", *(f" {key:<40} : {value}" for key, value in lines.items())])


def write_statistics(system: Embedded, job: Job) -> None:
    """The file that -S asks for, once the job has ended."""
    path = job["notes"].get("stats", "").replace("%b", str(job["index"])).replace("%j", str(job["array_id"]))
    if not path or job["state"] not in FINAL or not job["begun"] or Path(path).exists():
        return
    if system.is_on("late statistics") and time.time() - job["ended_at"] < _LATE_S:
        return
    Path(path).write_text(record(job, row_of(system, job)) + "\n")


def _stamp(seconds: float) -> str:
    return time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(seconds))
