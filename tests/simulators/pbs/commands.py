"""qstat, qdel, qselect, qhold and qrls; and how they come onto a PATH."""

from __future__ import annotations

import getpass
import json
import re
import shlex
import sys
import time
from pathlib import Path

from tests.simulators.pbs import miyabi
from tests.simulators.pbs.printing import Attributes, as_json, as_text, say, table, write
from tests.simulators.pbs.server import HOST, NODE_CORES, SWITCHES, Refused, Server, mib, seconds
from tests.simulators.pbs.statements import is_over, statements
from tests.simulators.pbs.submission import qsub, start

QSTAT_USAGE = "usage: qstat [-f] [-H] [-t] [job_identifier... | destination...]"


def qstat(server: Server, words: list[str]) -> int:
    if words == ["--version"]:
        return say("pbs_version = 23.06.06")
    _last_words(server)
    if server.flavour == "miyabi":
        return miyabi.qstat(server, words)
    flags, form, ids = set[str](), "", list[str]()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            ids.append(word)
            continue
        for letter in word[1:]:
            if letter not in "xfHtwFuQBa":
                raise Refused(2, f"qstat: invalid option -- '{letter}'\n{QSTAT_USAGE}")
            if letter == "F":
                form = rest.pop(0)
            elif letter == "u":
                rest.pop(0)
            else:
                flags.add(letter)
    complaints, shown, code = [], dict[str, Attributes](), 0
    if server.is_down:  # two lines for each id
        complaints = [f"Connection refused\nqstat: cannot connect to server {server.name} (errno=15010)"] * max(len(ids), 1)
        code = 255
    elif "Q" in flags:
        return say("".join(_queue(server, name) for name in ids or server.queues).rstrip("\n"), "")
    elif "B" in flags:
        return say(_about(server))
    for text in [] if server.is_down else ids:
        if "x" in flags and server.switch("history") == "off":
            complaints.append(f"qstat: PBS is not configured to maintain job history {text}")
            continue
        found = server.job(text)
        records = statements(server, *found, elements="t" in flags) if found and not found[0]["purged"] else {}
        over = all(record["job_state"] == "F" for record in records.values())
        if not records or (over and server.switch("history") == "off"):
            complaints.append(f"qstat: Unknown Job Id {server.known(text)}")
            code = 153
        elif over and "x" not in flags:
            complaints.append(f"qstat: {text} Job has finished, use -x or -H to obtain historical job information")
            code = 35
        elif not (form == "json" and shown and server.switch("client") == "main"):  # it prints the first only
            shown.update(records)
    if not server.is_down and not ids:
        for job in server.jobs.values():
            shown |= {name: one for name, one in statements(server, job, None).items() if one["job_state"] != "F"}
    if form == "json":
        write(as_json(shown, client=server.switch("client"), foreign=server.switch("bytes") == "foreign"))
    elif "f" in flags and "H" not in flags:
        write("".join(as_text(name, record, wide="w" in flags) for name, record in shown.items()).encode())
    elif shown:
        write(table(shown).encode())
    for line in complaints:
        print(line, file=sys.stderr)
    return code


def _last_words(server: Server) -> None:
    """What PBS writes into the log of a job that it ends; here as soon as somebody asks for any job."""
    for job in server.jobs.values():
        for index, record in server.records(job).items():
            limit_kb = mib(re.sub(r".*:mem=(\w+).*", r"\1", job["select"])) * 1024
            said = {
                "TIMEOUT": f"walltime {int((record['ended_at'] or 0) - (record['started_at'] or 0))} exceeded limit "
                f"{seconds(job['walltime'] or '0')}",
                "OOM": f"mem {int((record['max_rss_mib'] or 0) * 1024)}kb exceeded limit {limit_kb}kb",
            }.get(record["state"])
            if said and job["output"] and index not in job["said"]:
                job["said"].append(index)
                with open(job["output"].replace("^array_index^", str(index)), "a") as log:
                    log.write(f"=>> PBS: job killed: {said}\n")


def _queue(server: Server, name: str) -> str:
    if name not in server.queues:
        raise Refused(170, f"qstat: Unknown queue destination {name}")
    live = sum(job["queue"] == name and not is_over(server, job) for job in server.jobs.values())
    limit = "    resources_max.walltime = 00:30:00\n" if name == "debug" else ""
    count = f"    state_count = Transit:0 Queued:0 Held:0 Waiting:0 Running:{live} Exiting:0 Begun\n\t:0 \n"
    head = f"Queue: {name}\n    queue_type = Execution\n    total_jobs = {live}\n{count}"
    return f"{head}{limit}    enabled = True\n    started = True\n\n"


def _about(server: Server) -> str:
    limit = f"    max_queued = {server.switch('max_queued')}\n" if server.switch("max_queued") else ""
    return (
        f"Server: {server.name}\n    server_state = Active\n    server_host = {server.name}\n"
        f"    default_queue = {server.queues[0]}\n{limit}    max_array_size = {server.most_elements}\n"
    )


def qdel(server: Server, words: list[str]) -> int:
    if words == ["--version"]:
        return say("pbs_version = 23.06.06")
    if server.is_down:
        raise Refused(162, f"Connection refused\nCouldn't connect to cluster: {server.name}")
    code = 0
    for text in words:
        found = server.job(text)
        if found is None or found[0]["purged"]:
            known = re.fullmatch(r"\d+(\[\d*\])?(\.\S+)?", text)
            said = f"Unknown Job Id {server.known(text)}" if known else f"illegally formed job identifier: {text}"
            print(f"qdel: {said}", file=sys.stderr)
            code = 153 if known else 1
            continue
        job, index = found
        shown = statements(server, job, index)
        if all(one["job_state"] in "FX" for one in shown.values()):
            print(f"qdel: Job has finished {text}", file=sys.stderr)
            code = 35
            continue
        if all(one["job_state"] == "E" for one in shown.values()):
            print(f"qdel: Request invalid for state of job {text}", file=sys.stderr)
            code = 168
            continue
        job["deleted"].setdefault("" if index is None else str(index), {"by": getpass.getuser(), "at": time.time()})
        if job["local"] is not None:
            server.local("cancel", job["local"] if index is None else f"{job['local']}_{index}")
    return code


def qselect(server: Server, words: list[str]) -> int:
    if server.flavour == "miyabi":
        raise Refused(127, "qselect: command not found")
    if server.is_down:
        raise Refused(255, f"Connection refused\nqselect: cannot connect to server {server.name} (errno=15010)")
    if "-x" in words and server.switch("history") == "off":
        raise Refused(0, "qselect: PBS is not configured to maintain job history")
    value = {word: words[place + 1] for place, word in enumerate(words[:-1]) if word.startswith("-")}
    for job in server.jobs.values():
        over = job["purged"] or is_over(server, job)
        wanted = value.get("-N") in (None, job["name"]) and value.get("-q") in (None, job["queue"])
        if not wanted or (over and ("-x" not in words or job["purged"])):
            continue
        for name, one in statements(server, job, None, elements="-T" in words).items():
            if one["job_state"] in value.get("-s", one["job_state"]):
                print(name)
    return 0


def pbsnodes(server: Server, words: list[str]) -> int:
    if server.flavour == "miyabi":
        raise Refused(127, "pbsnodes: command not found")
    gpus = {"ngpus": 4} if server.flavour == "gadi" else {}
    node = {"Mom": HOST, "state": "free", "resources_available": {"host": HOST, "ncpus": NODE_CORES, **gpus}}
    return say(json.dumps({"pbs_version": "23.06.06", "nodes": {HOST: node}}))


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
                start(server, job)
    return 0


# ---------------------------------------------------------------------- setting up

COMMANDS = {"qsub": qsub, "qstat": qstat, "qdel": qdel, "qselect": qselect, "qhold": qhold, "qrls": qrls,
            "pbsnodes": pbsnodes}  # fmt: skip


def install(folder: Path) -> Path:
    """The commands in FOLDER/bin, which belongs at the head of PATH."""
    binaries = folder / "bin"
    binaries.mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        command = binaries / name
        words = shlex.join([sys.executable, str(Path(__file__).resolve().parent), name, str(folder)])
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
        if "history" in values:
            for job in server.jobs.values():
                job["purged"] = job["purged"] or is_over(server, job)
        for name, code in (("lost", -20), ("restarted", -4)):
            if values.get(name):
                server.lose(re.split(r"[.\[]", values[name])[0], code)
        if values.get("server") == "crashed":
            server.crash()


def main(words: list[str]) -> int:
    command, folder, rest = words[0], Path(words[1]), words[2:]
    if command == "install":
        return say(str(install(folder)))
    if command == "switch":
        switch(folder, **dict(word.split("=", 1) for word in rest))
        return 0
    with Server(folder).opened() as server:
        try:
            return COMMANDS[command](server, rest)
        except Refused as refusal:
            print(refusal, file=sys.stderr)
            return refusal.code
