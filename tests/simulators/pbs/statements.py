"""What the server says of each job: its attributes, as the transcripts have them for each way a job can be or end."""

from __future__ import annotations

import getpass
import json
import os
import time
from typing import Any

from tests.simulators.pbs.printing import Attributes
from tests.simulators.pbs.server import HOST, Job, Server, chunk, clock, day, stamp

SHOWN_AS = {"regular-g": "small-g", "regular-c": "small-c"}  # Miyabi: where a queue for submission sends its jobs


def job_id(job: Job) -> str:
    return f"{job['sequence']}{'[]' if job['array'] else ''}.{job['server']}"


def is_over(server: Server, job: Job) -> bool:
    return all(one["job_state"] in "FX" for one in statements(server, job, None, elements=True).values())


def statements(server: Server, job: Job, index: int | None, *, elements: bool = False) -> dict[str, Attributes]:
    """The job, or one element, or an array with its elements."""
    records = server.records(job)
    if not job["array"]:
        return {job_id(job): _attributes(server, job, records.get(None), None)}
    subs = {
        f"{job['sequence']}[{number}].{job['server']}": _attributes(server, job, records.get(number), number)
        for number in job["array"]
    }
    over = all(one["job_state"] == "F" for one in subs.values())
    begun = [record for record in records.values() if record["started_at"]]
    for one in subs.values():
        if one["job_state"] == "F" and not over:
            one["job_state"] = "X"
    if index is not None:
        return {name: one for name, one in subs.items() if f"[{index}]" in name}
    parent = _attributes(server, job, None, None)
    parent.update(job_state="F" if over else "B" if begun else parent["job_state"], array="True")
    if over or begun:
        failed = any(one.get("Exit_status") for one in subs.values())
        parent.update(substate=(93 if failed else 92) if over else 70, stime=stamp(job["ctime"]), Exit_status=0)
        parent["comment"] = f"Job Array Began at {day(job['ctime'])}" + (" and failed" if over and failed else "")
    return {job_id(job): parent, **(subs if elements else {})}


def _used(server: Server, job: Job, record: dict[str, Any], ended: float | None) -> Attributes:
    """As of the last look at the job; only its time is told in full once it is over."""
    cores, count = int(chunk(job, "ncpus") or 1), int(job["select"].partition(":")[0])
    ran_s, every_s = (ended or time.time()) - record["started_at"], server.seconds("sample_s")
    seen_s = ran_s // every_s * every_s if every_s else ran_s
    cput_s = (record["cpu_user_s"] or 0) * (seen_s / ran_s if ran_s > 0 else 0)
    memory = int((record["max_rss_mib"] or 0) * 1024) if seen_s else 0
    return {"cpupercent": 0, "cput": clock(cput_s), "mem": f"{memory}kb", "ncpus": cores * count,
            "vmem": "10380kb" if seen_s else "0kb", "walltime": clock(ran_s if ended else seen_s)}  # fmt: skip


def _attributes(server: Server, job: Job, record: dict[str, Any] | None, index: int | None) -> Attributes:
    """One job or element, its attributes in the real one's order."""
    started, ended = (record["started_at"], record["ended_at"]) if record else (None, None)
    how = _how(job, record, index)
    deleted = job["deleted"].get("" if index is None else str(index)) or job["deleted"].get("")
    obit = (ended or 0) + server.seconds("end_s")
    if started and ended and deleted and deleted["at"] <= ended:
        obit = max(obit, deleted["at"] + server.seconds("kill_s"))
    if started and ended and time.time() < obit:  # it is over, and the server has not learned of it yet
        running = deleted and time.time() < deleted["at"] + server.seconds("kill_s") / 2
        how = {**how, "state": "R" if running else "E", "substate": 42 if running else 51}
        how["exit"] = None if running else how["exit"]
        ended = None
    number = "^array_index^" if index is None else str(index)
    stem = f"{HOST}:{job['cwd']}/{job['name']}"
    tail = f"{job['sequence']}{'.' + number if job['array'] else ''}"
    output = job["output"].replace("^array_index^", number)
    cores, count = int(chunk(job, "ncpus") or 1), int(job["select"].partition(":")[0])
    ran = started is not None
    comment = how["comment"].replace("RUN", f"Job run at {day(started or 0)} on ({HOST}:ncpus={cores})")
    memory = chunk(job, "mem")
    used = _used(server, job, record, ended) if record and ran else {}
    asked = {**({"mem": memory} if memory else {}), "ncpus": cores * count, "nodect": count, "place": job["place"],
             "select": job["select"], **({"walltime": job["walltime"]} if job["walltime"] else {})}  # fmt: skip
    variables = {
        "PBS_O_HOME": os.path.expanduser("~"), "PBS_O_LANG": "C.UTF-8", "PBS_O_LOGNAME": getpass.getuser(),
        "PBS_O_PATH": os.defpath, "PBS_O_SHELL": "/bin/bash", "PBS_O_WORKDIR": job["cwd"], "PBS_O_SYSTEM": "Linux",
        "PBS_O_QUEUE": job["queue"], "PBS_O_HOST": HOST,
    }  # fmt: skip
    values: Attributes = {
        "Job_Name": job["name"],
        "Job_Owner": f"{getpass.getuser()}@{HOST}",
        **({"resources_used": used} if ran else {}),
        "job_state": how["state"],
        "queue": SHOWN_AS.get(job["queue"], job["queue"]) if server.flavour == "miyabi" else job["queue"],
        "server": job["server"],
        "Checkpoint": "u",
        "ctime": stamp(job["ctime"]),
        **({"depend": how["depend"]} if how["depend"] else {}),
        "Error_Path": f"{stem}.e{tail}",
        **({"exec_host": "+".join([f"{HOST}/0" + (f"*{cores}" if cores > 1 else "")] * count)} if ran else {}),
        **({"exec_vnode": "+".join([f"({HOST}:ncpus={cores})"] * count)} if ran else {}),
        "Hold_Types": how["hold"],
        "Join_Path": "oe",
        "Keep_Files": "n",
        "Mail_Points": "a",
        "mtime": stamp(ended or job["mtime"]),
        "Output_Path": f"{HOST}:{output}" if output else f"{stem}.o{tail}",
        "Priority": 0,
        "qtime": stamp(job["ctime"]),
        "Rerunable": str(job["rerun"]),
        "Resource_List": asked,
        **({"stime": stamp(started)} if ran and started else {}),
        **({"obittime": stamp(obit)} if ran and ended and how["state"] == "F" else {}),
        "substate": how["substate"],
        "Variable_List": variables,
        **({"comment": comment} if comment else {}),
        "etime": stamp(job["ctime"]),
        **({"run_count": 1, "Stageout_status": 1} if ran else {}),
        **({"Exit_status": how["exit"]} if how["exit"] is not None else {}),
        "Submit_arguments": job["arguments"],
        **({"history_timestamp": int(time.time())} if how["state"] == "F" else {}),
        **({"array_id": job_id(job), "array_index": index} if index is not None else {}),
        "project": job["project"],
        "Submit_Host": HOST,
    }
    if server.flavour == "miyabi" and how["state"] == "F":
        values["TOKEN"] = "0.0123"
        if ran:
            used["mem_per_nodes"] = json.dumps({HOST: used["mem"]})
    return values


def _how(job: Job, record: dict[str, Any] | None, index: int | None) -> dict[str, Any]:
    """State, substate, Exit_status and comment, as the transcripts have them for each way a job can be or end."""
    depend = ",".join(f"{kind}:{on}@{job['server']}" for kind, on in job["depend"])

    def how(state: str, substate: int, comment: str = "", code: int | None = None, hold: str = "n") -> dict[str, Any]:
        keeps = depend if hold == "s" else ""
        return {"state": state, "substate": substate, "comment": comment, "exit": code, "hold": hold, "depend": keeps}

    deleted = job["deleted"].get("" if index is None else str(index)) or job["deleted"].get("")
    if record is None or job["local"] is None:
        if deleted and index is not None and "" in job["deleted"]:
            return how("F", 91, "Subjob finished", hold="u" if job["held"] else "n")
        if deleted:
            if deleted.get("why") == "depend":
                return how("F", 92, hold="s")
            return how(
                "F", 91, f"{job['never']} and terminated" if job["never"] else "", hold="u" if job["held"] else "n"
            )
        if job["never"]:
            return how("Q", 10, job["never"])
        return how("H", 20, hold="u") if job["held"] else how("Q", 10)
    if job["lost"]:
        return how("F", 93, "RUN", job["lost"])
    whole = job["deleted"].get("")
    if index is not None and whole and record["ended_at"] and record["ended_at"] < whole["at"]:
        return how("F", 91, "Subjob finished", 1)  # the array's own record was written over its own
    state, code, number = record["state"], record["exit_code"], record["signal"]
    if state in ("PENDING", "HELD"):
        return (
            how("H", 22, hold="s") if state == "HELD" else how("Q", 10, "Not Running: Not enough free nodes available")
        )
    if state == "RUNNING":
        return how("R", 42, "RUN")
    if state == "CANCELLED":
        if record["started_at"]:
            return how("F", 91, f"RUN and terminated by {(deleted or {}).get('by') or getpass.getuser()}@{HOST}", 271)
        return how("F", 91, "") if deleted else how("F", 92, hold="s")
    if state == "TIMEOUT":
        return how("F", 93, "RUN and exceeded resource walltime", -29)
    if state == "OOM":
        return how("F", 93, "RUN and exceeded resource mem", -27)
    if state == "COMPLETED":
        return how("F", 92, "RUN and finished", 0)
    return how("F", 93, "RUN and failed", 256 + number if number else code)
