"""Miyabi's own qstat, as its users report it (2025-10 to 2026-09). Nobody of us has seen it.

Reported: the banner, the tables, the words for "none there", the options, ids without server, queues that are not those of
the submission, no blank line behind the last record. Guessed: what `-f` says of a job that is over, and `--limit`.
"""

from __future__ import annotations

import time

from tests.simulators.pbs.printing import Attributes, as_text, write
from tests.simulators.pbs.server import Refused, Server
from tests.simulators.pbs.statements import statements

BANNER = "Miyabi scheduled stop time: 2026/12/24(Thu) 09:00:00 (Remain: 12days 20:27:07)\n\n"
NO_LIVE, NONE = "No unfinished job found. \n", "No matching job found. \n"
WORDS = {"Q": "QUEUED", "T": "TRANSITING", "H": "HELD", "W": "WAITING", "R": "RUNNING", "B": "BEGUN", "E": "EXITING",
         "S": "SUSPEND", "U": "SUSPEND", "F": "FINISH", "X": "EXPIRED"}  # fmt: skip
FLAGS = ("-l", "-ll", "-t", "-f", "-H", "--limit", "--rsc")
WITH_VALUE = {"--hday": range(1, 32), "--hnum": range(1, 1_000_000)}
HEADER = ("JOB_ID", "JOB_NAME", "STATUS", "PROJECT", "QUEUE", "START_DATE", "ELAPSE", "TOKEN", "NODE", "MIG")


def qstat(server: Server, words: list[str]) -> int:
    flags, ids, rest = set[str](), list[str](), list(words)
    while rest:
        word = rest.pop(0)
        if word in WITH_VALUE:
            if not (value := rest.pop(0)).isdigit() or int(value) not in WITH_VALUE[word]:
                raise Refused(2, f"qstat: illegal {word} value")
        elif word in FLAGS:
            flags.add(word)
        elif word.startswith("-"):
            raise Refused(2, f"qstat: unrecognized option '{word}'\nusage: qstat [-l | -ll] [-t] [-f] [-H] [job_id...]")
        else:
            ids.append(word)
    if server.is_down:
        raise Refused(255, f"Connection refused\nqstat: cannot connect to server {server.name} (errno=15010)")
    if "-f" in flags and not ids:
        raise Refused(2, "qstat: -f needs a job id")
    if "--limit" in flags:
        return _say(_limits(server))
    past = "-H" in flags
    found = {
        name: one
        for name, one in _jobs(server, ids, elements="-t" in flags, folds=not (past or ids)).items()
        if (one["job_state"] in "FX") == past and not (past and server.switch("history") == "off")
    }
    if not found:
        return _say(NO_LIVE if not (past or ids) else NONE)
    if "-f" in flags:
        return _say("".join(as_text(name, one) for name, one in found.items())[:-1])
    width = 64 if "-ll" in flags else 10
    return _say(_line(HEADER, width) + "".join(_line(_row(name, one), width) for name, one in found.items()))


def _jobs(server: Server, ids: list[str], *, elements: bool, folds: bool) -> dict[str, Attributes]:
    """An array of which nothing has begun stands in one line, also with -t."""
    wanted = [found for text in ids if (found := server.job(text))] if ids else [(job, None) for job in server.jobs.values()]
    shown: dict[str, Attributes] = {}
    for job, index in wanted:
        if job["purged"]:
            continue
        both = statements(server, job, index, elements=elements)
        waits = all(one["job_state"] in "QH" for one in both.values())
        if job["array"] and index is None and elements:
            both = {name: one for name, one in both.items() if ("[]" in name) == (folds and waits)}
        shown.update(both)
    return shown


def _row(name: str, one: Attributes) -> tuple[str, ...]:
    began, used = one.get("stime"), one.get("resources_used", {})
    start = time.strftime("%m/%d %H:%M:%S", time.strptime(began)) if began else "--/-- --:--:--"
    return (name.partition(".")[0], one["Job_Name"], WORDS[one["job_state"]], "gz00", one["queue"], start,
            used.get("walltime", "--:--:--"), "0.1" if began else "-", "1", "-")  # fmt: skip


def _line(cells: tuple[str, ...], name: int) -> str:
    number, title, status, project, queue, start, elapse, token, node, mig = cells
    return (
        f"{number:<17} {title[:name]:<{name}} {status:<9} {project:<10} {queue:<15} {start:<16} {elapse:<9} "
        f"{token:>8} {node:>4} {mig:>3}\n"
    )


def _limits(server: Server) -> str:
    most = server.switch("max_queued").strip("[]").rpartition("=")[2] or "1000"
    live = [one for one in _jobs(server, [], elements=True, folds=False).values() if one["job_state"] not in "FX"]
    row = f"gz00        {len(live)}/{most}     0/{most}\n"
    return "".join(f"Miyabi-{half}\nPROJECT     ACCEPT   RUN\n{row}" for half in "GC")


def _say(text: str) -> int:
    write((BANNER + text).encode())
    return 0
