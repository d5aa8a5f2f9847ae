"""A PJM that answers like the documents: pjsub, pjstat, pjdel and pjacl, over our embedded batch system.

Switches: `down`, `old` (no --choose and --data), `banner`, `bytes`, `truncate`, `no bulk`, `polite` (errors with exit
code 0), `reject` (accepted, then RJT), `lost reply` (accepted, but the answer is an error of communication).
The resource group `held` puts its jobs on hold at once, `broken` into the error state.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

from tests.simulators.embedded import FINAL, Embedded, Job, Refused, directive_words

COMMANDS = ("pjsub", "pjstat", "pjdel", "pjacl")
GROUPS = ("small", "large", "held", "broken")
_CHOSEN = {"jid": "JOB_ID", "jnam": "JOB_NAME", "st": "ST", "ec": "EC", "pc": "PC", "sn": "SN", "ermsg": "REASON"}
_VERBOSE = [
    "JOB_ID", "JOB_NAME", "MD", "ST", "USER", "GROUP", "START_DATE", "ELAPSE_TIM", "ELAPSE_LIM", "NODE_REQUIRE",
    "VNODE", "CORE", "V_MEM", "V_POL", "E_POL", "RANK", "LST", "EC", "PC", "SN", "PRI", "ACCEPT", "RSC_GRP", "REASON",
]  # fmt: skip
_LIVE = {"PENDING": "QUE", "HELD": "HLD", "RUNNING": "RUN"}
BANNER = "*** 2026/11/20 Job 12 of 40 maintenance days: see notice 0042 ***"


def main() -> int:
    system, (command, *words) = Embedded(Path(sys.argv[1])), sys.argv[2:]
    if system.is_on("down"):
        print(f"[ERR.] PJM 0090 {command} Cannot connect to the job manager.", file=sys.stderr)
        return 0 if system.is_on("polite") else 1
    respond = {"pjsub": _pjsub, "pjstat": _pjstat, "pjdel": _pjdel, "pjacl": _pjacl}[command]
    return system.answer(lambda: respond(system, words))


def _error(system: Embedded, text: str) -> int:
    print(f"[ERR.] PJM {text}", file=sys.stderr)
    return 0 if system.is_on("polite") else 1


# -- pjsub


def _pjsub(system: Embedded, words: list[str]) -> int:
    script = Path(words[-1]).read_bytes()
    asked = _asked(script.decode("utf-8", "replace"))
    group = asked["resources"].get("rscgrp", "small")
    if group not in GROUPS:
        return _error(system, f'0007 pjsub Resource group "{group}" does not exist.')
    if "sparam" in asked and system.is_on("no bulk"):
        return _error(system, "0070 pjsub No execute permission: pjsub-bulk.")
    directives = [
        f"name={asked['name']}",
        f"output={_pattern(asked['err'])}",
        f"cores={asked['mpi'].get('proc', '1')}",
        f"time={_seconds(asked['resources'].get('elapse', '00:10:00'))}",
    ]
    if limit := asked["resources"].get("node-mem"):
        directives.append(f"memory={re.match(r'[0-9]+', limit)[0]}")  # type: ignore[index]
    if "sparam" in asked:
        directives.append(f"array={asked['sparam']}")
    notes = {**asked, "group": group}
    rejected = system.is_on("reject")
    variables = {"PJM_JOBID": "$LOCAL_JOB_ID", "PJM_BULKNUM": "$LOCAL_ARRAY_INDEX"}
    held = rejected or group in ("held", "broken")
    try:
        job_id = system.submit(script, directives, variables, notes, held=held)
    except Refused as error:
        return _error(system, f"0057 pjsub {error}")
    if rejected:
        system.give_end(job_id, {"ST": "RJT", "EC": "-", "PC": "2", "SN": "-", "REASON": "REJECTED BY THE SITE"})
        system.cancel([job_id])
    if system.is_on("lost reply"):
        return _error(system, "0091 pjsub Communication with the job manager timed out.")
    if system.is_on("banner"):
        print(BANNER)
    print(f"[INFO] PJM 0000 pjsub Job {job_id} submitted.")
    if system.is_on("banner"):
        print(BANNER)
    return 0


def _asked(script: str) -> dict[str, Any]:
    asked: dict[str, Any] = {"resources": {}, "mpi": {}, "name": "job", "err": "/dev/null"}
    single = {"--name": "name", "-N": "name", "-o": "out", "-e": "err", "--spath": "stats", "--sparam": "sparam"}
    for words in directive_words(script, "#PJM"):
        for option, value in zip(words, [*words[1:], ""], strict=True):
            if option in ("-L", "--mpi"):
                items = (item.partition("=") for item in value.split(","))
                asked["resources" if option == "-L" else "mpi"].update({key: held for key, _, held in items})
            elif option in single:
                asked[single[option]] = value
    return asked


def _pattern(path: str) -> str:
    return path.replace("%b", "%a")


def _seconds(clock: str) -> int:
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return hours * 3600 + minutes * 60 + seconds


# -- pjstat


def _pjstat(system: Embedded, words: list[str]) -> int:
    if "--rsc" in words:
        print("RSCUNIT        RSCUNIT_SIZE  RSCGRP\nrscunit_ft01   16x18x16      " + " ".join(GROUPS))
        return 0
    chosen = _after(words, "--choose")
    if system.is_on("old") and (chosen or "--data" in words):
        return _error(system, "0011 pjstat Invalid option: --choose")
    key, _, value = (_after(words, "--filter") or "").partition("=")
    if key == "jnam":
        jobs = system.query(name=value)
    else:
        ids = value.split("+") if key else system.all_ids()
        jobs = system.query([_local(job_id) for job_id in ids]) if ids else []
    rows = [_row(job) for job in jobs]
    if "-E" not in words:
        rows = [{**row, "JOB_ID": row["JOB_ID"].partition("[")[0]} for row in rows]
    else:  # the array itself stands above its elements, with a state that sums them up
        for job_id in dict.fromkeys(str(job["array_id"]) for job in jobs if job["index"] is not None):
            mine = [row for row in rows if row["JOB_ID"].partition("[")[0] == job_id]
            rows.insert(0, {**mine[-1], "JOB_ID": job_id, "MD": "BU"})
    history = "-H" in words
    rows = [row for row in rows if (row["ST"] in ("EXT", "CCL", "RJT")) is history]
    if history:
        for job in jobs:
            _write_statistics(job)
    if chosen:
        delimiter = _after(words, "--delimiter") or ","
        names = [_CHOSEN[key] for key in chosen.split(",")]
        print(delimiter.join(["H", *names]))
        for row in rows:
            print(delimiter.join(["", *(row[name] for name in names)]))
    else:
        print("  ".join(_VERBOSE))
        for row in rows:
            print("  ".join(row.get(name, "-") for name in _VERBOSE))
    return 0


def _after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1] if option in words else ""


def _local(job_id: str) -> str:
    """`12[3]` → `12_3`."""
    return job_id.replace("[", "_").rstrip("]")


def _row(job: Job) -> dict[str, str]:
    notes = job["notes"]
    job_id = job["array_id"] if job["index"] is None else f"{job['array_id']}[{job['index']}]"
    started = _date(job["started_at"]) if job["begun"] and job["started_at"] else "(11/20 07:00)"
    return {
        "JOB_ID": job_id, "JOB_NAME": job["name"], "MD": "NM", "USER": "u10001", "GROUP": "hp200999",
        "START_DATE": started, "ELAPSE_TIM": "0000:00:01", "ELAPSE_LIM": "0000:10:00", "NODE_REQUIRE": "1",
        "LST": "RNO", "PRI": "127", "ACCEPT": _date(job["submitted_at"]), "RSC_GRP": notes.get("group", "small"),
        "REASON": "-", **_state(job),
    }  # fmt: skip


def _state(job: Job) -> dict[str, str]:
    state, none = job["state"], {"EC": "-", "PC": "-", "SN": "-"}
    if job["end"] and state in FINAL:
        return {**none, **job["end"]}
    if state not in FINAL:
        if job["held"]:
            broken = job["notes"].get("group") == "broken"
            return {**none, "ST": "ERR", "REASON": "FILE SYSTEM ERROR"} if broken else {**none, "ST": "HLD"}
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


def _write_statistics(job: Job) -> None:
    """The file that -S asks for."""
    path = job["notes"].get("stats", "").replace("%b", str(job["index"])).replace("%j", str(job["array_id"]))
    if not path or job["state"] not in FINAL or not job["begun"] or Path(path).exists():
        return
    row, when = _row(job), [time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(job[k])) for k in _TIMES]
    took = int(job["ended_at"] - job["started_at"])
    figures = {
        "JOB ID": row["JOB_ID"], "JOB NAME": row["JOB_NAME"], "STATE": row["ST"], "EXIT CODE": row["EC"],
        "SIGNAL NO": row["SN"], "PJM CODE": row["PC"], "NODE NUM (ALLOC)": job["notes"]["resources"].get("node", "1"),
        "ELAPSE TIME (USE)": f"{took // 3600:02d}:{took // 60 % 60:02d}:{took % 60:02d} ({took})",
        "ACCEPT DATE": when[0], "JOB START DATE": when[1], "JOB END DATE": when[2],
        "USER CPU TIME (USE)": f"{int(1000 * (job['cpu_user_s'] or 0))} ms",
        "SYSTEM CPU TIME (USE)": f"{int(1000 * (job['cpu_system_s'] or 0))} ms",
        "MAX MEMORY SIZE (USE)": f"{(job['max_rss_mib'] or 0):.1f} MiB ({int(2**20 * (job['max_rss_mib'] or 0))})",
        "ENERGY CONSUMPTION OF NODE (MEASURED)": "0.125 Wh",
    }  # fmt: skip
    lines = [" [Job Statistical Information]", *(f" {key:<40} : {value}" for key, value in figures.items())]
    Path(path).write_text("\n".join(lines) + "\n")


_TIMES = ("submitted_at", "started_at", "ended_at")


# -- pjdel and pjacl


def _pjdel(system: Embedded, words: list[str]) -> int:
    code = 0
    for job_id in words:
        if system.knows(_local(job_id)):
            system.cancel([_local(job_id)])
            print(f"[INFO] PJM 0100 pjdel Accepted job {job_id}.")
        else:
            code = _error(system, f"0112 pjdel Job {job_id} does not exist.")
    return code


def _pjacl(system: Embedded, words: list[str]) -> int:
    print("PERMISSION TO EXECUTE")
    for name in ("pjsub-batch", "pjsub-bulk", "pjsub-step"):
        print(f"  {name:<20} {'disable' if name == 'pjsub-bulk' and system.is_on('no bulk') else 'enable'}")
    return 0
