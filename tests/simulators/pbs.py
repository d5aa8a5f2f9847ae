"""PBS's commands over the embedded batch system: they answer like the transcripts of an OpenPBS, and jobs really run.

    python tests/simulators/pbs.py install FOLDER        puts qsub, qstat, qdel, qselect, qhold and qrls into FOLDER/bin
    python tests/simulators/pbs.py switch FOLDER history=off server=down …

The switches: history=on|off; server=up|down; flavour=stock|miyabi; banner=TEXT around what qsub prints; bytes=foreign puts
a variable into every job that is no UTF-8; lost=SEQUENCE lets the node of that running job die. Flavour miyabi knows
neither -x nor -F nor -w, and shows jobs that are over in full by `-f -H`, which is what is known of that site's qstat.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import io
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HOST = "pbshost"
NODE_CORES = 16
QUEUES = ("workq", "regular-c", "regular-g", "debug")
DEFAULT_QUEUE = "workq"
SWITCHES = {"history": "on", "server": "up", "flavour": "stock", "banner": "", "bytes": "", "lost": ""}
LINE = 79
QSUB_USAGE = """\
usage: qsub [-a date_time] [-A account_string] [-c interval]
\t[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
\t[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
\t[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
\t[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
\t[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version"""
QSTAT_USAGE = "usage: qstat [-f] [-H] [-t] [job_identifier... | destination...]"

Job = dict[str, Any]
Attributes = dict[str, Any]


class Refused(Exception):
    """What a command says on stderr, and its exit code."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


class Server:
    """The jobs that this PBS has taken, in one file; how they run is the embedded batch system's business."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: dict[str, Any] = {"next": 1, "switches": SWITCHES, "jobs": {}}

    @contextlib.contextmanager
    def opened(self) -> Iterator[Server]:
        """One command at a time; what it changed is kept."""
        file = self.folder / "state.json"
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if file.exists():
                self.state = json.loads(file.read_text())
            yield self
            new = file.with_suffix(".new")
            new.write_text(json.dumps(self.state))
            new.replace(file)

    @property
    def jobs(self) -> dict[str, Job]:
        jobs: dict[str, Job] = self.state["jobs"]
        return jobs

    def switch(self, name: str) -> str:
        return str(self.state["switches"][name])

    def job(self, text: str) -> tuple[Job, int | None] | None:
        """`16`, `16.pbshost`, `16[].pbshost` or `16[2].pbshost`; None where there is no such job."""
        match = re.fullmatch(r"(\d+)(?:\[(\d*)\])?(?:\.(\S+))?", text)
        if not match or (match[3] or HOST) != HOST:
            return None
        job = self.jobs.get(match[1])
        if job is None or (match[2] is not None) != bool(job["array"]):
            return None
        return job, int(match[2]) if match[2] else None

    def local(self, *arguments: str) -> tuple[int, str]:
        """A command of the embedded batch system, in this process."""
        from dagster_hpc.local_batch.__main__ import main

        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = main([arguments[0], "--spool", str(self.folder / "spool"), *arguments[1:]])
        return code, out.getvalue().strip()

    def records(self, job: Job) -> dict[int | None, dict[str, Any]]:
        """What the embedded batch system says of this job's elements; None is the index of a job that is no array."""
        if job["local"] is None:
            return {}
        found = json.loads(self.local("query", job["local"])[1])["jobs"]
        return {record["index"]: record for record in found}


# ---------------------------------------------------------------------- qsub


def qsub(server: Server, words: list[str]) -> int:
    if words == ["--version"]:
        return _say("pbs_version = 23.06.06")
    if server.switch("server") == "down":
        raise Refused(162, f"Connection refused\nqsub: cannot connect to server {HOST} (errno=15010)")
    options, rest = _options(words)
    if not rest:
        raise Refused(2, "qsub: no script\n" + QSUB_USAGE)
    path = Path(rest[0])
    if not path.is_file():
        raise Refused(1, "qsub: script file:: No such file or directory")
    script = path.read_bytes()
    if b"\r\n" in script:
        raise Refused(1, "qsub: script contains cr, lf")
    directives = [line[5:] for line in script.decode(errors="replace").splitlines() if line.startswith("#PBS ")]
    asked = [option for line in directives for option in _options(shlex.split(line))[0]] + options
    sequence = str(server.state["next"])
    server.state["next"] += 1  # a rejected submission uses up a number too
    job = _checked(sequence, asked, path.name)
    kept = server.folder / f"{sequence}.SC"
    kept.write_bytes(script)
    job.update(script=str(kept), cwd=os.getcwd(), arguments=" ".join(words), mtime=job["ctime"])
    server.jobs[sequence] = job
    if not (job["held"] or job["never"]):
        _start(server, job)
    banner = server.switch("banner")
    return _say(*([banner] if banner else []), _id(job), *([banner] if banner else []))


def _options(words: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    options, rest = [], list(words)
    while rest and rest[0].startswith("-") and len(rest[0]) > 1:
        word = rest.pop(0)
        letter = word[1]
        if letter in "hzVf":
            options.append((letter, ""))
        elif letter in "aAcCejJklmMNopPqrRSuWv":
            options.append((letter, word[2:] or (rest.pop(0) if rest else "")))
        else:
            raise Refused(2, f"qsub: invalid option -- '{letter}'\n{QSUB_USAGE}")
    return options, rest


def _checked(sequence: str, options: list[tuple[str, str]], script: str) -> Job:
    """The job that is asked for; or the refusal of the real one."""
    job: Job = {
        "sequence": sequence, "name": script[:15], "queue": DEFAULT_QUEUE, "ctime": time.time(), "select": "1:ncpus=1",
        "place": "pack", "walltime": "", "array": None, "limit": None, "depend": [], "held": False, "never": "",
        "local": None, "deleted": {}, "lost": False, "output": "", "rerun": True, "project": "_pbs_project_default",
    }  # fmt: skip
    for letter, value in options:
        if letter == "N":
            if len(value) > 236:
                raise Refused(2, f"qsub: Job name is too long\n{QSUB_USAGE}")
            if not re.fullmatch(r"[A-Za-z0-9._+-]+", value):
                raise Refused(2, f"qsub: illegal -N value\n{QSUB_USAGE}")
            job["name"] = value
        elif letter == "q":
            if value not in QUEUES:
                raise Refused(170, "qsub: Unknown queue")
            job["queue"] = value
        elif letter == "o":
            if not value.isascii():
                raise Refused(2, f"qsub: illegal -o value\n{QSUB_USAGE}")
            job["output"] = value
        elif letter == "h":
            job["held"] = True
        elif letter == "P":
            job["project"] = value
        elif letter == "r":
            job["rerun"] = value == "y"
        elif letter == "J":
            job["array"], job["limit"] = _range(value)
        elif letter == "l":
            _resource(job, value)
        elif letter == "W":
            _attribute(job, value)
    if job["array"] and not job["rerun"]:
        raise Refused(2, f"qsub: illegal -r value\n{QSUB_USAGE}")
    if job["queue"] == "debug" and (_seconds(job["walltime"] or "0") or 0) > 1800:
        raise Refused(188, "qsub: Job violates queue and/or server resource limits")
    cores = int(_chunk(job, "ncpus") or 1)
    if cores > NODE_CORES:
        job["never"] = f"Can Never Run: Insufficient amount of resource: ncpus (R: {cores} A: 16 T: 16)"
    return job


def _range(text: str) -> tuple[list[int], int | None]:
    match = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?:%(\d+))?", text)
    if not match or int(match[1]) >= int(match[2]):
        raise Refused(2, f"qsub: illegal -J value\n{QSUB_USAGE}")
    indices = list(range(int(match[1]), int(match[2]) + 1, int(match[3] or 1)))
    if len(indices) > 10_000:
        raise Refused(3, "qsub: Array job exceeds server or queue size limit")
    return indices, int(match[4]) if match[4] else None


def _resource(job: Job, text: str) -> None:
    name, _, value = text.partition("=")
    if name not in ("select", "place", "walltime"):
        raise Refused(187, f"qsub: Unknown resource: {name}")
    if name == "walltime" and _seconds(value) is None:
        raise Refused(166, "qsub: Illegal attribute or resource value Resource_List.walltime")
    if name == "select" and not re.fullmatch(r"\d+(:[a-z]+=[\w]+)+", value):
        raise Refused(166, "qsub: Illegal attribute or resource value Resource_List.select")
    job[name] = value


def _attribute(job: Job, text: str) -> None:
    name, _, value = text.partition("=")
    if name == "group_list" and value.startswith("no"):
        raise Refused(197, "qsub: Bad GID for job execution")
    if name == "depend":
        for one in value.split(","):
            kind, *ids = one.split(":")
            job["depend"] += [[kind, job_id] for job_id in ids]


def _start(server: Server, job: Job) -> None:
    """Hand the job to the embedded batch system, as a script that sets what PBS sets and runs the real one."""
    lines = ["#!/bin/bash", f"#LOCAL --name={job['name']}"]
    count = int(job["select"].partition(":")[0])
    lines.append(f"#LOCAL --cores={count * int(_chunk(job, 'ncpus') or 1)}")
    memory = _mib(_chunk(job, "mem"))
    lines += [f"#LOCAL --memory={count * memory}"] if memory else []
    lines += [f"#LOCAL --time={_seconds(job['walltime'])}"] if job["walltime"] else []
    if job["array"]:
        limit = f"%{job['limit']}" if job["limit"] else ""
        lines.append(f"#LOCAL --array={','.join(map(str, job['array']))}{limit}")
    for kind, text in job["depend"]:
        on = server.job(text.partition("@")[0])
        local = on and on[0]["local"]
        if local is None:
            job["deleted"][""] = {"by": "", "at": time.time(), "why": "depend"}  # it is found out a moment later
            return
        lines.append(f"#LOCAL --after={kind.removeprefix('after')}:{local}")
    output = job["output"] or f"{job['cwd']}/{job['name']}.o{job['sequence']}"
    lines.append(f"#LOCAL --output={output.replace('%', '%%').replace('^array_index^', '%a')}")
    index = "$LOCAL_ARRAY_INDEX" if job["array"] else ""
    job_id = f"{job['sequence']}[{index}].{HOST}" if job["array"] else _id(job)
    nodes = server.folder / f"{job['sequence']}.nodes"
    nodes.write_text(f"{HOST}\n" * count * int(_chunk(job, "mpiprocs") or 1))
    values = {
        "PBS_O_WORKDIR": shlex.quote(job["cwd"]), "PBS_JOBNAME": job["name"], "PBS_QUEUE": job["queue"],
        "PBS_NODEFILE": shlex.quote(str(nodes)), "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBID": f'"{job_id}"', **({"PBS_ARRAY_INDEX": index} if index else {}),
    }  # fmt: skip
    lines += [f"export {name}={value}" for name, value in values.items()]
    lines += ["unset LOCAL_JOB_ID LOCAL_JOB_NAME LOCAL_CORES LOCAL_ARRAY_INDEX", 'cd "$HOME"']
    lines += [f"exec /bin/bash {shlex.quote(job['script'])}", ""]
    path = server.folder / f"{job['sequence']}.sh"
    path.write_text("\n".join(lines))
    code, said = server.local("submit", "--capacity-cores", "16", "--capacity-memory", "65536", str(path))
    if code:
        raise Refused(15, f"qsub: {said}")
    job["local"] = said


# ---------------------------------------------------------------------- qstat


def qstat(server: Server, words: list[str]) -> int:
    miyabi = server.switch("flavour") == "miyabi"
    if words == ["--version"]:
        return _say("pbs_version = 23.06.06")
    flags, form, ids = set[str](), "", list[str]()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            ids.append(word)
            continue
        for letter in word[1:]:
            if letter not in ("fHtuQ" if miyabi else "xfHtwFuQBa"):
                raise Refused(2, f"qstat: invalid option -- '{letter}'\n{QSTAT_USAGE}")
            if letter == "F":
                form = rest.pop(0)
            elif letter == "u":
                rest.pop(0)
            else:
                flags.add(letter)
    down = server.switch("server") == "down"
    complaints, shown, code = [], dict[str, Attributes](), 0
    if down:
        complaints, code = [f"Connection refused\nqstat: cannot connect to server {HOST} (errno=15010)"], 255
    elif "Q" in flags:
        return _say("".join(_queue(name) for name in QUEUES).rstrip("\n"), "")
    elif "B" in flags:
        return _say(f"Server: {HOST}\n    server_state = Active\n    server_host = {HOST}\n")
    past = "H" in flags if miyabi else "x" in flags
    for text in [] if down else ids:
        if past and server.switch("history") == "off":
            complaints.append(f"qstat: PBS is not configured to maintain job history {text}")
            continue
        found = server.job(text)
        records = _shown(server, *found, elements="t" in flags) if found else {}
        over = all(record["job_state"] == "F" for record in records.values())
        if not records or (over and server.switch("history") == "off"):
            complaints.append(f"qstat: Unknown Job Id {text if '.' in text else f'{text}.{HOST}'}")
            code = 153
        elif over and not past:
            complaints.append(f"qstat: {text} Job has finished, use -x or -H to obtain historical job information")
            code = 35
        else:
            shown.update(records)
    if not down and not ids:
        for job in server.jobs.values():
            shown |= {name: one for name, one in _shown(server, job, None).items() if one["job_state"] != "F"}
    if form == "json":
        _write(as_json(shown, server.switch("bytes") == "foreign"))
    elif "f" in flags and (miyabi or "H" not in flags):
        _write("".join(as_text(name, record, wide="w" in flags) for name, record in shown.items()).encode())
    elif shown:
        _write(_table(shown).encode())
    for line in complaints:
        print(line, file=sys.stderr)
    return code


def _shown(server: Server, job: Job, index: int | None, *, elements: bool = False) -> dict[str, Attributes]:
    records = server.records(job)
    if not job["array"]:
        return {_id(job): _attributes(server, job, records.get(None), None)}
    ended = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OOM"}
    begun = [record for record in records.values() if record["started_at"]]
    over = "" in job["deleted"] or (bool(records) and all(record["state"] in ended for record in records.values()))
    subs = {}
    for number in job["array"]:
        one = _attributes(server, job, records.get(number), number)
        if one["job_state"] == "F" and not over:
            one["job_state"] = "X"
        subs[f"{job['sequence']}[{number}].{HOST}"] = one
    if index is not None:
        return {name: one for name, one in subs.items() if f"[{index}]" in name}
    parent = _attributes(server, job, None, None)
    parent.update(job_state="F" if over else "B" if begun else parent["job_state"], array="True")
    if over or begun:
        failed = any(one.get("Exit_status") for one in subs.values())
        parent.update(substate=(93 if failed else 92) if over else 70, stime=_stamp(job["ctime"]), Exit_status=0)
        parent["comment"] = f"Job Array Began at {_day(job['ctime'])}" + (" and failed" if over and failed else "")
    return {_id(job): parent, **(subs if elements else {})}


def _attributes(server: Server, job: Job, record: dict[str, Any] | None, index: int | None) -> Attributes:
    """One job or element, its attributes in the real one's order."""
    how = _how(job, record, index)
    started, ended = (record["started_at"], record["ended_at"]) if record else (None, None)
    number = "^array_index^" if index is None else str(index)
    stem = f"{HOST}:{job['cwd']}/{job['name']}"
    tail = f"{job['sequence']}{'.' + number if job['array'] else ''}"
    output = job["output"].replace("^array_index^", number)
    cores, count = int(_chunk(job, "ncpus") or 1), int(job["select"].partition(":")[0])
    ran = started is not None
    comment = how["comment"].replace("RUN", f"Job run at {_day(started or 0)} on ({HOST}:ncpus={cores})")
    memory = _chunk(job, "mem")
    used = {"cpupercent": 0, "cput": _clock((record or {}).get("cpu_user_s") or 0),
            "mem": f"{int(((record or {}).get('max_rss_mib') or 0) * 1024)}kb", "ncpus": cores * count,
            "vmem": "10380kb", "walltime": _clock((ended or time.time()) - (started or 0))}  # fmt: skip
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
        "queue": job["queue"],
        "server": HOST,
        "Checkpoint": "u",
        "ctime": _stamp(job["ctime"]),
        **({"depend": how["depend"]} if how["depend"] else {}),
        "Error_Path": f"{stem}.e{tail}",
        **({"exec_host": "+".join([f"{HOST}/0" + (f"*{cores}" if cores > 1 else "")] * count)} if ran else {}),
        **({"exec_vnode": "+".join([f"({HOST}:ncpus={cores})"] * count)} if ran else {}),
        "Hold_Types": how["hold"],
        "Join_Path": "oe",
        "Keep_Files": "n",
        "Mail_Points": "a",
        "mtime": _stamp(ended or job["mtime"]),
        "Output_Path": f"{HOST}:{output}" if output else f"{stem}.o{tail}",
        "Priority": 0,
        "qtime": _stamp(job["ctime"]),
        "Rerunable": str(job["rerun"]),
        "Resource_List": asked,
        **({"stime": _stamp(started)} if ran and started else {}),
        **({"obittime": _stamp(ended)} if ran and ended and how["state"] == "F" else {}),
        "substate": how["substate"],
        "Variable_List": variables,
        **({"comment": comment} if comment else {}),
        "etime": _stamp(job["ctime"]),
        **({"run_count": 1, "Stageout_status": 1} if ran else {}),
        **({"Exit_status": how["exit"]} if how["exit"] is not None else {}),
        "Submit_arguments": job["arguments"],
        **({"history_timestamp": int(time.time())} if how["state"] == "F" else {}),
        **({"array_id": _id(job), "array_index": index} if index is not None else {}),
        "project": job["project"],
        "Submit_Host": HOST,
    }
    if server.switch("flavour") == "miyabi" and how["state"] == "F":
        values["TOKEN"] = "0.0123"
        if ran:
            used["mem_per_nodes"] = json.dumps({HOST: used["mem"]})
    return values


def _how(job: Job, record: dict[str, Any] | None, index: int | None) -> dict[str, Any]:
    """State, substate, Exit_status and comment, as the transcripts have them for each way a job can be or end."""
    depend = ",".join(f"{kind}:{on}@{HOST}" for kind, on in job["depend"])

    def how(state: str, substate: int, comment: str = "", code: int | None = None, hold: str = "n") -> dict[str, Any]:
        keeps = depend if hold == "s" else ""
        return {"state": state, "substate": substate, "comment": comment, "exit": code, "hold": hold, "depend": keeps}

    deleted = job["deleted"].get("" if index is None else str(index)) or job["deleted"].get("")
    if record is None or job["local"] is None:
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
        return how("F", 93, "RUN", -20)
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


# ---------------------------------------------------------------------- how it is printed


def as_json(shown: dict[str, Attributes], foreign: bool = False) -> bytes:
    document: dict[str, Any] = {"timestamp": int(time.time()), "pbs_version": "23.06.06", "pbs_server": HOST}
    if shown:
        document["Jobs"] = shown
    text = json.dumps(document, indent="\t", separators=(",", ":\t")) + "\n"
    return text.encode().replace(
        b'"PBS_O_SYSTEM"', b'"LATIN":\t"caf\xe9",\n\t\t\t\t"PBS_O_SYSTEM"' if foreign else b'"PBS_O_SYSTEM"'
    )


def as_text(name: str, record: Attributes, *, wide: bool = False) -> str:
    lines = [f"Job Id: {name}"]
    for key, value in record.items():
        if key == "Variable_List":
            lines.append(_line(key, ",".join(f"{inner}={one}" for inner, one in value.items()), wide))
        elif isinstance(value, dict):
            lines += [_line(f"{key}.{inner}", str(one), wide) for inner, one in value.items()]
        else:
            lines.append(_line(key, str(value), wide))
    return "\n".join([*lines, "", ""])


def _line(name: str, value: str, wide: bool) -> str:
    """Wrapped at commas where that can be, else in the middle of a word, with nothing but a newline and a tab."""
    text = f"    {name} = "
    if wide:
        return text + value
    column, done = len(text), text
    for number, token in enumerate(re.findall(r"[^,]*,|[^,]+$", value)):
        if number and column + len(token) >= LINE:
            done, column = f"{done}\n\t", 9
        while column + len(token) > LINE:
            room = LINE - column
            done, token, column = f"{done}{token[:room]}\n\t", token[room:], 8
        done, column = done + token, column + len(token)
    return done


def _table(shown: dict[str, Attributes]) -> str:
    """The short list, which `-H` prints even with `-f`."""
    head = f"""
{HOST}: 
                                                            Req'd  Req'd   Elap
Job ID          Username Queue    Jobname    SessID NDS TSK Memory Time  S Time
--------------- -------- -------- ---------- ------ --- --- ------ ----- - -----
"""  # noqa: W291 - so it is
    rows = (
        f"{name:<15.15} {one['Job_Owner'].partition('@')[0]:<8.8} {one['queue']:<8.8} {one['Job_Name']:<10.10}    --    1"
        f"   1    --    --  {one['job_state']} 00:00\n"
        for name, one in shown.items()
    )
    return head + "".join(rows)


def _queue(name: str) -> str:
    limit = "    resources_max.walltime = 00:30:00\n" if name == "debug" else ""
    head = f"Queue: {name}\n    queue_type = Execution\n    total_jobs = 0\n"
    return f"{head}{limit}    enabled = True\n    started = True\n\n"


# ---------------------------------------------------------------------- the other commands


def qdel(server: Server, words: list[str]) -> int:
    if words == ["--version"]:
        return _say("pbs_version = 23.06.06")
    if server.switch("server") == "down":
        raise Refused(162, f"Connection refused\nCouldn't connect to cluster: {HOST}")
    code = 0
    for text in words:
        found = server.job(text)
        if found is None:
            known = re.fullmatch(r"\d+(\[\d*\])?(\.\S+)?", text)
            said = (
                f"Unknown Job Id {text if '.' in text else f'{text}.{HOST}'}"
                if known
                else f"illegally formed job identifier: {text}"
            )
            print(f"qdel: {said}", file=sys.stderr)
            code = 153 if known else 1
            continue
        job, index = found
        shown = _shown(server, job, index)
        if all(one["job_state"] in "FX" for one in shown.values()):
            print(f"qdel: Job has finished {text}", file=sys.stderr)
            code = 35
            continue
        job["deleted"]["" if index is None else str(index)] = {"by": getpass.getuser(), "at": time.time()}
        if job["local"] is not None:
            server.local("cancel", job["local"] if index is None else f"{job['local']}_{index}")
    return code


def qselect(server: Server, words: list[str]) -> int:
    miyabi = server.switch("flavour") == "miyabi"
    if server.switch("server") == "down":
        raise Refused(255, f"Connection refused\nqselect: cannot connect to server {HOST} (errno=15010)")
    if "-x" in words and miyabi:
        raise Refused(2, "qselect: invalid option -- 'x'\nusage: qselect [-N name]")
    if "-x" in words and server.switch("history") == "off":
        raise Refused(0, "qselect: PBS is not configured to maintain job history")
    wanted = words[words.index("-N") + 1] if "-N" in words else None
    for job in server.jobs.values():
        over = next(iter(_shown(server, job, None).values()))["job_state"] == "F"
        if wanted in (None, job["name"]) and (not over or "-x" in words):
            print(_id(job))
    return 0


def qhold(server: Server, words: list[str]) -> int:
    """A waiting job leaves the queue of the embedded batch system, and comes back by qrls."""
    for text in words:
        if found := server.job(text):
            job = found[0]
            job["held"] = True
            if job["local"] is not None and all(
                record["state"] == "PENDING" for record in server.records(job).values()
            ):
                server.local("cancel", job["local"])
                job["local"] = None
    return 0


def qrls(server: Server, words: list[str]) -> int:
    for text in words:
        if found := server.job(text):
            job = found[0]
            job["held"] = False
            if job["local"] is None and not job["deleted"]:
                _start(server, job)
    return 0


def lose(server: Server, sequence: str) -> None:
    """The node of a running job dies: nothing of the job can write a last word."""
    job = server.jobs[sequence]
    for record in server.records(job).values():
        if record["state"] == "RUNNING" and record["pid"]:
            os.killpg(record["pid"], signal.SIGKILL)
            job["lost"] = True


def _id(job: Job) -> str:
    return f"{job['sequence']}{'[]' if job['array'] else ''}.{HOST}"


def _chunk(job: Job, name: str) -> str:
    match = re.search(rf":{name}=(\w+)", job["select"])
    return match[1] if match else ""


def _mib(text: str) -> int:
    match = re.fullmatch(r"(\d+)([kmg])b", text)
    return int(int(match[1]) * {"k": 1 / 1024, "m": 1, "g": 1024}[match[2]]) if match else 0


def _seconds(text: str) -> int | None:
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+)", text)
    if not match:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def _stamp(at: float) -> str:
    return time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(at))


def _day(at: float) -> str:
    return time.strftime("%a %b %e at %H:%M", time.localtime(at))


def _say(*lines: str) -> int:
    _write("".join(f"{line}\n" for line in lines).encode())
    return 0


def _write(content: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


# ---------------------------------------------------------------------- setting up

COMMANDS = {"qsub": qsub, "qstat": qstat, "qdel": qdel, "qselect": qselect, "qhold": qhold, "qrls": qrls}


def install(folder: Path) -> Path:
    """The commands in FOLDER/bin, which belongs at the head of PATH."""
    binaries = folder / "bin"
    binaries.mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        command = binaries / name
        words = shlex.join([sys.executable, str(Path(__file__).resolve()), name, str(folder)])
        command.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        command.chmod(0o755)
    return binaries


def switch(folder: Path, **values: str) -> None:
    """Turn the switches of a PBS in this folder."""
    with Server(folder).opened() as server:
        unknown = set(values) - set(SWITCHES)
        if unknown:
            raise ValueError(f"no such switch: {', '.join(sorted(unknown))}")
        server.state["switches"] = {**server.state["switches"], **values}
        if values.get("lost"):
            lose(server, values["lost"].partition(".")[0])


def main(words: list[str]) -> int:
    command, folder, rest = words[0], Path(words[1]), words[2:]
    if command == "install":
        return _say(str(install(folder)))
    if command == "switch":
        switch(folder, **dict(word.split("=", 1) for word in rest))
        return 0
    with Server(folder).opened() as server:
        try:
            return COMMANDS[command](server, rest)
        except Refused as refusal:
            print(refusal, file=sys.stderr)
            return refusal.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
