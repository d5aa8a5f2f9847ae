"""An LSF that answers like the documents: bsub, bjobs, bkill, bstop, bresume, lsid, bqueues, bparams and busers, over our
embedded batch system.

Switches: `down`, `old` (no -json), `9.1` (no pend_reason either), `banner`, `bytes`, `truncate`, `empty` (bjobs lists
nothing), `first only` (its document has the first job alone: no LSF is known to do that, one PBS is), `full` (no more
jobs may wait), `lost reply`. Jobs of the queue `impossible` wait for a condition that can never be met.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.simulators.embedded import FINAL, Embedded, Job, Refused, directive_words

COMMANDS = ("bsub", "bjobs", "bkill", "bstop", "bresume", "lsid", "bqueues", "bparams", "busers")
QUEUES = ("normal", "short", "impossible")
VERSION = "IBM Spectrum LSF Standard 10.1.0.9, Oct 16 2019"
_LIVE = {"PENDING": "PEND", "HELD": "PEND", "RUNNING": "RUN"}
_FLAGS = ("-x", "-rn", "-r", "-ti", "-H", "-N", "-B")
_PATTERNS = {"%I": "%a", "%J": "%j", "%": "%%"}  # in the path of the log: LSF's → the embedded system's
_AFTER = {"done": "ok", "ended": "any", "exit": "notok"}


def main() -> int:
    system, (command, *words) = Embedded(Path(sys.argv[1])), sys.argv[2:]
    if system.is_on("down") and words != ["-V"]:
        print("batch system daemon not responding ... still trying", file=sys.stderr)
        print(f"{command}: Cannot connect to LSF. Please wait ...", file=sys.stderr)
        return 255
    respond = {"bsub": _bsub, "bjobs": _bjobs, "bkill": _bkill, "lsid": _lsid, "bqueues": _bqueues}
    respond |= {"bstop": _bstop, "bresume": _bresume, "bparams": _bparams, "busers": _busers}
    return system.answer(lambda: respond[command](system, words))


def _say(text: str, code: int = 255) -> int:
    print(text, file=sys.stderr)
    return code


# -- bsub


def _bsub(system: Embedded, words: list[str]) -> int:
    if words == ["-V"]:
        return _say(VERSION, 0)
    script = sys.stdin.buffer.read()
    if system.is_on("full"):
        return _threshold_reached()
    asked = _asked(script.decode("utf-8", "replace"))
    queue = asked.get("-q", "normal")
    if queue not in QUEUES:
        return _say(f"{queue}: No such queue. Job not submitted.")
    name, _, elements = asked.get("-J", "job").partition("[")
    directives = [
        f"name={name}",
        f"output={re.sub('%[IJ]?', lambda found: _PATTERNS[found[0]], asked.get('-o', '/dev/null'))}",
        f"cores={asked.get('-n', '1')}",
        f"time={60 * int(asked.get('-W', '10'))}",
        *(["memory=" + asked["-M"].removesuffix("MB")] if "-M" in asked else []),
        *(["array=" + elements.replace("]", "")] if elements else []),
    ]
    try:
        directives += _dependencies(asked.get("-w", ""))
        index = "$LOCAL_ARRAY_INDEX" if elements else "0"
        variables = {"LSB_JOBID": "$LOCAL_JOB_ID", "LSB_JOBINDEX": index, "LSB_JOBNAME": "$LOCAL_JOB_NAME"}
        held = "-H" in asked or queue == "impossible"
        job_id = system.submit(script, directives, variables, {"queue": queue, "asked": asked}, held=held)
    except (Refused, ValueError):
        return _say("Dependency condition invalid or never satisfied. Job not submitted.")
    if system.is_on("lost reply"):
        return _say("Failed in an LSF library call: Communication time out. Job not submitted.")
    if system.is_on("banner"):
        print("*** 12 jobs <7> are submitted to maintenance ***\n==> New jobs will be dispatched by esub 4.2")
    print(f"Job <{job_id}> is submitted to {'queue' if '-q' in asked else 'default queue'} <{queue}>.")
    return 0


def _threshold_reached() -> int:
    """The real one waits and tries again, as often as it is told to; by default for ever."""
    for _ in range(int(os.environ.get("LSB_NTRIES", "1000"))):
        _say("User <user>: Pending job threshold reached. Retrying in 60 seconds...")
        time.sleep(60 if "LSB_NTRIES" not in os.environ else 0)
    return _say("User <user>: Pending job threshold reached. Job not submitted.")


def _asked(script: str) -> dict[str, str]:
    """The last of each option, but each of several -R."""
    asked: dict[str, str] = {}
    for words in directive_words(script, "#BSUB"):
        for option, value in zip(words, [*words[1:], ""], strict=True):
            if option.startswith("-"):
                asked[option] = "" if option in _FLAGS else value
    return asked


def _dependencies(condition: str) -> list[str]:
    found = []
    for part in (part.strip() for part in condition.split("&&") if part.strip()):
        match = re.fullmatch(r"(done|ended|exit)\((\d+)(?:\[(\d+)\])?\)", part)
        if not match:
            raise ValueError(part)
        found.append(f"after={_AFTER[match[1]]}:{match[2]}{f'_{match[3]}' if match[3] else ''}")
    return found


# -- bjobs


def _bjobs(system: Embedded, words: list[str]) -> int:
    if (system.is_on("old") or system.is_on("9.1")) and "-json" in words:
        return _say("bjobs: illegal option -- j\nUsage: bjobs [-h] [-V] [-a] [-noheader] [-o format] [job_ID ...]")
    form = words[words.index("-o") + 1] if "-o" in words else "jobid stat job_name"
    fields = form.partition("delimiter=")[0].split()
    if system.is_on("9.1") and "pend_reason" in fields:
        return _say("bjobs: pend_reason: Unknown field name.")
    if "-J" in words:
        records = [_record(job) for job in system.query(name=words[words.index("-J") + 1])]
        missing = [] if records else [f"Job <{words[words.index('-J') + 1]}> is not found"]
    else:
        ids = [word for word in words if re.fullmatch(r"\d+(\[\d+\])?", word)]
        missing = [f"Job <{job_id}> is not found" for job_id in ids if not system.knows(_local(job_id))]
        jobs = system.query([_local(job_id) for job_id in ids]) if ids else system.query()
        records = [_record(job) for job in jobs]
    if system.is_on("empty"):
        records, missing = [], []
    if "-json" in words:
        if system.is_on("banner"):
            print("*** maintenance on Friday ***")
        errors = [{"JOBID": re.findall(r"\d+", text)[0], "ERROR": text} for text in missing]
        if system.is_on("first only"):
            records = records[:1]
        shown = [{name.upper(): record[name.upper()] for name in fields} for record in records]
        document = {"COMMAND": "bjobs", "JOBS": len(shown), "RECORDS": [*shown, *errors]}
        print(json.dumps(document, indent=2))
    else:
        for record in records:
            print("|".join(record[name.upper()] for name in fields))
        for text in missing:
            _say(text)
    return 255 if missing and not records else 0


def _local(job_id: str) -> str:
    return job_id.replace("[", "_").rstrip("]")


def _record(job: Job) -> dict[str, str]:
    index = job["index"]
    ran = job["begun"] and job["started_at"] is not None
    took = (job["ended_at"] or time.time()) - job["started_at"] if ran else 0.0
    cpu = (job["cpu_user_s"] or 0.0) + (job["cpu_system_s"] or 0.0)
    record = {
        "JOBID": str(job["array_id"]), "JOBINDEX": str(index or 0), "EXIT_CODE": "", "EXIT_REASON": "",
        "JOB_NAME": job["name"] if index is None else f"{job['name']}[{index}]", "KILL_REASON": "",
        "SUSPEND_REASON": "", "PEND_REASON": "", "RUN_TIME": f"{took:.0f} second(s)" if ran else "",
        "CPU_USED": f"{cpu:.1f} second(s)", "MAX_MEM": f"{job['max_rss_mib'] or 0:.0f} Mbytes",
        "EXEC_HOST": f"{job['cores']}*node1" if ran else "", "NEXEC_HOST": "1" if ran else "",
        "SUBMIT_TIME": _time(job["submitted_at"]), "START_TIME": _time(job["started_at"]) if ran else "",
        "FINISH_TIME": _time(job["ended_at"]) if job["ended_at"] else "", **_state(job),
    }  # fmt: skip
    return {name: value or "-" for name, value in record.items()}


def _state(job: Job) -> dict[str, str]:
    state = job["state"]
    if job["end"] and (state in FINAL or job["end"]["STAT"] == "UNKWN"):
        return dict(job["end"])
    if state not in FINAL:
        if job["held"]:
            if job["notes"].get("queue") == "impossible":
                return {"STAT": "PEND", "PEND_REASON": "Dependency condition invalid or never satisfied;"}
            why = "The job was suspended by its owner or the LSF administrator while pending;"
            return {"STAT": "PSUSP", "PEND_REASON": why}
        why = "Job dependency condition not satisfied;" if state == "HELD" else "New job is waiting for scheduling;"
        return {"STAT": _LIVE.get(state, "PEND"), "PEND_REASON": "" if state == "RUNNING" else why}
    if state == "COMPLETED":
        return {"STAT": "DONE"}
    if state == "CANCELLED" and "can never start" in (job["reason"] or ""):
        return {"STAT": "EXIT", "EXIT_REASON": "TERM_ORPHAN_SYSTEM: orphaned job terminated by LSF"}
    if state == "CANCELLED":
        code = "130" if job["begun"] else ""
        return {"STAT": "EXIT", "EXIT_CODE": code, "EXIT_REASON": "TERM_OWNER: job killed by owner"}
    if state == "TIMEOUT":
        why = "TERM_RUNLIMIT: job killed after reaching LSF run time limit"
        return {"STAT": "EXIT", "EXIT_CODE": "140", "EXIT_REASON": why}
    if state == "OOM":
        why = "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit"
        return {"STAT": "EXIT", "EXIT_CODE": "137", "EXIT_REASON": why}
    code = job["exit_code"] if job["exit_code"] is not None else 128 + (job["signal"] or 0)
    return {"STAT": "EXIT", "EXIT_CODE": str(code)}


def _time(seconds: float | None) -> str:
    """To the minute and without a year, as bjobs prints it."""
    return time.strftime("%b %e %H:%M", time.localtime(seconds))


# -- the rest


def _known(system: Embedded, words: list[str]) -> Iterator[tuple[str, Any]]:
    for job_id in words:
        jobs = system.query([_local(job_id)]) if system.knows(_local(job_id)) else []
        yield job_id, jobs


def _bkill(system: Embedded, words: list[str]) -> int:
    code = 0
    for job_id, jobs in _known(system, words):
        if not jobs:
            code = _say(f"Job <{job_id}>: No matching job found")
        elif all(job["state"] in FINAL for job in jobs):
            code = _say(f"Job <{job_id}>: Job has already finished")
        else:
            system.cancel([_local(job_id)])
            print(f"Job <{job_id}> is being terminated")
    return code


def _bstop(system: Embedded, words: list[str]) -> int:
    for job_id in words:
        system.hold(job_id)
        print(f"Job <{job_id}> is being stopped")
    return 0


def _bresume(system: Embedded, words: list[str]) -> int:
    for job_id in words:
        system.release(job_id)
        print(f"Job <{job_id}> is being resumed")
    return 0


def _lsid(system: Embedded, words: list[str]) -> int:
    print(f"{VERSION}\nCopyright International Business Machines Corp. 1992, 2016.\n")
    print("My cluster name is simulated\nMy master name is node1")
    return 0


def _bparams(system: Embedded, words: list[str]) -> int:
    print("    CLEAN_PERIOD = 3600\n    MAX_JOB_ARRAY_SIZE = 1000\n    MAX_PEND_JOBS = 2147483647")
    return 0


def _busers(system: Embedded, words: list[str]) -> int:
    most = "0" if system.is_on("full") else "-"
    print("USER/GROUP          JL/P    MAX  NJOBS   PEND    RUN  SSUSP  USUSP    RSV  MPEND  PJOBS MPJOBS")
    print(f"{words[-1]:<20} -      -      0      0      0      0      0      0      -      0 {most:>6}")
    return 0


def _bqueues(system: Embedded, words: list[str]) -> int:
    names = [word for word in words if not word.startswith("-")] or list(QUEUES)
    print("QUEUE_NAME      PRIO STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN  SUSP")
    for name in names:
        if name not in QUEUES:
            return _say(f"{name}: No such queue")
        print(f"{name:<15}  30  Open:Active       -    -    -    -     0     0     0     0")
    return 0
