"""qsub: what is asked for is checked as the real one does, and handed to the embedded batch system."""

from __future__ import annotations

import os
import re
import shlex
import time
from pathlib import Path

from tests.simulators.pbs.printing import say
from tests.simulators.pbs.server import HOST, NODE_CORES, Job, Refused, Server, chunk, mib, seconds
from tests.simulators.pbs.statements import is_over, job_id

QSUB_USAGE = """\
usage: qsub [-a date_time] [-A account_string] [-c interval]
\t[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
\t[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
\t[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
\t[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
\t[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version"""


def qsub(server: Server, words: list[str]) -> int:
    if words == ["--version"]:
        return say("pbs_version = 23.06.06")
    if server.is_down:
        raise Refused(162, f"Connection refused\nqsub: cannot connect to server {server.name} (errno=15010)")
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
    asked = [option for line in directives for option in _options(shlex.split(line))[0]]
    resources = [option for option in asked if option[0] == "l"]
    # Of two -l in a script the first holds, of two other options the last, and the command line before all (seen on main).
    asked = [option for option in asked if option[0] != "l"] + resources[::-1] + options
    sequence = str(server.state["next"])
    server.state["next"] += 1  # a rejected submission uses up a number too
    job = _checked(server, sequence, asked, path.name)
    kept = server.folder / f"{sequence}.SC"
    kept.write_bytes(script)
    job.update(script=str(kept), cwd=os.getcwd(), arguments=" ".join(words), mtime=job["ctime"])
    server.jobs[sequence] = job
    if not (job["held"] or job["never"]):
        start(server, job)
    banner = server.switch("banner")
    return say(*([banner] if banner else []), job_id(job), *([banner] if banner else []))


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


def _checked(server: Server, sequence: str, options: list[tuple[str, str]], script: str) -> Job:
    """The job that is asked for; or the refusal of the real one."""
    job: Job = {
        "sequence": sequence, "server": server.name, "name": script[:15], "queue": server.queues[0], "ctime": time.time(),
        "select": "1:ncpus=1", "place": "pack", "walltime": "", "array": None, "limit": None, "depend": [], "held": False,
        "never": "", "local": None, "deleted": {}, "lost": 0, "purged": False, "said": [], "output": "", "group": "",
        "rerun": server.flavour == "stock", "project": "_pbs_project_default",
    }  # fmt: skip
    for letter, value in options:
        if letter == "N":
            if len(value) > 236:
                raise Refused(2, f"qsub: Job name is too long\n{QSUB_USAGE}")
            if not re.fullmatch(r"[A-Za-z0-9._+-]+", value):
                raise Refused(2, f"qsub: illegal -N value\n{QSUB_USAGE}")
            job["name"] = value
        elif letter == "q":
            if value not in server.queues:
                raise Refused(170, "qsub: Unknown queue")
            job["queue"] = value
        elif letter == "o":
            if not value.isascii():
                raise Refused(2, f"qsub: illegal -o value\n{QSUB_USAGE}")
            job["output"] = value
        elif letter == "h":
            job["held"] = True
        elif letter in "AP" and server.flavour == "miyabi":
            raise Refused(255, f"qsub: directive error: -{letter} {value}")
        elif letter == "P":
            job["project"] = value
        elif letter == "r":
            job["rerun"] = value == "y"
        elif letter == "J":
            job["array"], job["limit"] = _range(value, server.most_elements)
        elif letter == "l":
            _resource(server, job, value)
        elif letter == "W":
            _attribute(job, value)
    if job["array"] and not job["rerun"]:
        if server.flavour == "stock":
            raise Refused(2, f"qsub:  cannot submit non-rerunable Array Job\n{QSUB_USAGE}")
        raise Refused(255, "qsub: cannot submit non-rerunable Array Job\nqsub: directive error: -r n ")
    if server.flavour == "miyabi" and not job["group"]:
        raise Refused(188, "qsub: group_list is not given")  # in which words is not known
    _check_room(server, len(job["array"] or [None]))
    if job["queue"] == "debug" and (seconds(job["walltime"] or "0") or 0) > 1800:
        raise Refused(188, "qsub: Job violates queue and/or server resource limits")
    cores = int(chunk(job, "ncpus") or 1)
    if cores > NODE_CORES:
        job["never"] = f"Can Never Run: Insufficient amount of resource: ncpus (R: {cores} A: 16 T: 16)"
    return job


def _check_room(server: Server, more: int) -> None:
    limit = re.search(r"=(\d+)\]", server.switch("max_queued"))
    live = sum(len(job["array"] or [None]) for job in server.jobs.values() if not is_over(server, job))
    if limit and live + more > int(limit[1]):
        if server.flavour == "miyabi":
            raise Refused(39, "qsub: would exceed group gz00's limit on resource njobs-g in complex")
        raise Refused(38, "qsub: would exceed complex's per-user limit")


def _range(text: str, most: int) -> tuple[list[int], int | None]:
    match = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?:%(\d+))?", text)
    if not match or int(match[1]) >= int(match[2]):
        raise Refused(2, f"qsub: illegal -J value\n{QSUB_USAGE}")
    indices = list(range(int(match[1]), int(match[2]) + 1, int(match[3] or 1)))
    if len(indices) > most:
        raise Refused(3, "qsub: Array job exceeds server or queue size limit")
    return indices, int(match[4]) if match[4] else None


def _resource(server: Server, job: Job, text: str) -> None:
    name, _, value = text.partition("=")
    if name == "storage" and server.flavour == "gadi":
        return
    if name not in ("select", "place", "walltime"):
        raise Refused(187, f"qsub: Unknown resource: {name}")
    if name == "walltime" and seconds(value) is None:
        raise Refused(166, "qsub: Illegal attribute or resource value Resource_List.walltime")
    if name == "select" and not re.fullmatch(r"\d+(:[a-z]+=[\w]+)+", value):
        raise Refused(166, "qsub: Illegal attribute or resource value Resource_List.select")
    if name == "select" and ":ngpus=" in value and server.flavour != "gadi":  # no resource of a stock server
        raise Refused(187, "qsub: Unknown resource: ngpus")
    job[name] = value


def _attribute(job: Job, text: str) -> None:
    name, _, value = text.partition("=")
    if name == "group_list" and value.startswith("no"):
        raise Refused(197, "qsub: Bad GID for job execution")
    if name == "group_list":
        job["group"] = value
    if name == "depend":
        for one in value.split(","):
            kind, *ids = one.split(":")
            job["depend"] += [[kind, on] for on in ids]


def start(server: Server, job: Job) -> None:
    """Hand the job to the embedded batch system, as a script that sets what PBS sets and runs the real one."""
    lines = ["#!/bin/bash", f"#LOCAL --name={job['name']}"]
    count = int(job["select"].partition(":")[0])
    lines.append(f"#LOCAL --cores={count * int(chunk(job, 'ncpus') or 1)}")
    memory = mib(chunk(job, "mem"))
    lines += [f"#LOCAL --memory={count * memory}"] if memory else []
    lines += [f"#LOCAL --time={seconds(job['walltime'])}"] if job["walltime"] else []
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
    own = f"{job['sequence']}[{index}].{job['server']}" if job["array"] else job_id(job)
    nodes = server.folder / f"{job['sequence']}.nodes"
    nodes.write_text(f"{HOST}\n" * count * int(chunk(job, "mpiprocs") or 1))
    values = {
        "PBS_O_WORKDIR": shlex.quote(job["cwd"]), "PBS_JOBNAME": job["name"], "PBS_QUEUE": job["queue"],
        "PBS_NODEFILE": shlex.quote(str(nodes)), "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBID": f'"{own}"', **({"PBS_ARRAY_INDEX": index} if index else {}),
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
