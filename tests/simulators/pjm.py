"""A PJM that answers as its users report it: pjsub, pjstat, pjdel, pjacl and mpiexec, over our embedded batch system.

What stands in public recordings (OpenComposer, crewster, qcsc-prefect, autosubmit): the forms of --data, of columns and
of --limit, a live query that leaves ended jobs out with code 0, PJM 0211, sub-jobs as `ID[n]` below a parent whose EC is
`-`. Reported, and verified by nobody here: an empty `-H` while `-s` answers, the gate check and its REASON in the record
only, moved resource groups, where mpiexec puts the ranks' output. Inferred: `-s` for jobs that have ended, all that
pjacl says, the words in which jobs are refused for their number or for GFSCACHE, and that pjstat lists the others
beside an invalid id.

Switches. Of the version: `old` (an error for --choose and --data), `ignores options` (columns all the same), `bars` (the
delimiter is |), `no history` (-H is empty), `strict ids` (an invalid id hides all others), `no bulk`, `volumes` (work
outside /home needs GFSCACHE), `moved` (a job waits in another resource group than it was sent to), `accept=N`,
`bulk=N` (jobs, and sub-jobs, taken at once), `late statistics` (written three seconds after the end).
Of the moment: `down`, `banner`, `bytes`, `truncate`, `polite` (errors with exit code 0), `reject` (accepted, then RJT),
`lost reply` (accepted, but the answer is an error of communication).
The resource group `held` puts its jobs on hold at once, `broken` into the error state.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.simulators.embedded import FINAL, Embedded, Job, Refused, directive_words
from tests.simulators.pjm_jobs import ENDED, local, record, row_of, write_statistics

COMMANDS = ("pjsub", "pjstat", "pjdel", "pjacl", "mpiexec")
GROUPS = ("small", "large", "held", "broken")
_CHOSEN = {"jid": "JOB_ID", "jnam": "JOB_NAME", "st": "ST", "ec": "EC", "pc": "PC", "sn": "SN", "ermsg": "REASON"}
_PLAIN = [
    "JOB_ID", "JOB_NAME", "MD", "ST", "USER", "START_DATE", "ELAPSE_LIM", "NODE_REQUIRE", "VNODE", "CORE", "V_MEM",
]  # fmt: skip
_VERBOSE = [
    "JOB_ID", "JOB_NAME", "MD", "ST", "USER", "GROUP", "START_DATE", "ELAPSE_TIM", "ELAPSE_LIM", "NODE_REQUIRE",
    "VNODE", "CORE", "V_MEM", "V_POL", "E_POL", "RANK", "LST", "EC", "PC", "SN", "PRI", "ACCEPT", "RSC_GRP", "REASON",
]  # fmt: skip
BANNER = "*** 2026/11/20 Job 12 of 40 maintenance days: see notice 0042 ***"


def main() -> int:
    system, (command, *words) = Embedded(Path(sys.argv[1])), sys.argv[2:]
    if command == "mpiexec":
        return _mpiexec(words)
    if system.is_on("down"):
        print(f"[ERR.] PJM 0090 {command} Cannot connect to the job manager.", file=sys.stderr)
        return 0 if system.is_on("polite") else 1
    respond = {"pjsub": _pjsub, "pjstat": _pjstat, "pjdel": _pjdel, "pjacl": _pjacl}[command]
    return system.answer(lambda: respond(system, words))


def _error(system: Embedded, text: str) -> int:
    print(f"[ERR.] PJM {text}", file=sys.stderr)
    return 0 if system.is_on("polite") else 1


def _set(system: Embedded, name: str) -> int | None:
    """The number in a switch such as `accept=3`."""
    found = sorted((system.folder / "switches").glob(f"{name}=*"))
    return int(found[0].name.partition("=")[2]) if found else None


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
    if "sparam" in asked and (most := _set(system, "bulk")) is not None and _size(asked) > most:
        return _error(
            system, f"0057 pjsub ru-accept-bulksubjob={_size(asked)} is greater than the upper limit ({most})."
        )
    if (most := _set(system, "accept")) is not None and _accepted(system) >= most:
        return _error(system, "0052 pjsub The number of jobs exceeds the limit (ru-accept).")
    if asked["group"] == "fugaku":
        return _error(system, "0071 pjsub Group not authorized to submit a job: group(59999)")
    volumes = asked["variables"].get("PJM_LLIO_GFSCACHE", "")
    if system.is_on("volumes") and not volumes and not os.getcwd().startswith("/home/"):
        return _error(system, "0080 pjsub PJM_LLIO_GFSCACHE is required outside of the home directory.")
    if "," in volumes:  # taken, and found out by the gate check
        group = "broken"
    notes = {**asked, "rscgrp": group}
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
    asked: dict[str, Any] = {
        "resources": {},
        "mpi": {},
        "variables": {},
        "name": "job",
        "err": "/dev/null",
        "group": "",
    }
    single = {
        "--name": "name",
        "-g": "group",
        "-N": "name",
        "-o": "out",
        "-e": "err",
        "--spath": "stats",
        "--sparam": "sparam",
    }
    for words in directive_words(script, "#PJM"):
        for option, value in zip(words, [*words[1:], ""], strict=True):
            if option in ("-L", "--mpi"):
                items = (item.partition("=") for item in value.split(","))
                asked["resources" if option == "-L" else "mpi"].update({key: held for key, _, held in items})
            elif option == "-x":
                name, _, held = value.partition("=")
                asked["variables"][name] = held
            elif option in single:
                asked[single[option]] = value
    return asked


def _pattern(path: str) -> str:
    return path.replace("%b", "%a")


def _seconds(elapse: str) -> int:
    """The latter of two times."""
    hours, minutes, seconds = (int(part) for part in elapse.rpartition("-")[2].split(":"))
    return hours * 3600 + minutes * 60 + seconds


def _size(asked: Job) -> int:
    return int(asked["sparam"].partition("-")[2]) + 1 if "sparam" in asked else 1


def _accepted(system: Embedded) -> int:
    """Jobs that wait or run; a bulk job is one."""
    live = [job for job in system.query(system.all_ids()) if job["state"] not in FINAL] if system.all_ids() else []
    return len({job["array_id"] for job in live})


# -- pjstat


def _pjstat(system: Embedded, words: list[str]) -> int:
    if "--rsc" in words:
        print("RSCUNIT        RSCUNIT_SIZE  RSCGRP\nrscunit_ft01   16x18x16      " + " ".join(GROUPS))
        return 0
    if "--limit" in words:
        return _limits(system, _after(words, "--group"))
    if system.is_on("old") and "--data" in words:
        return _error(system, "0011 pjstat Invalid option: --choose")
    name = _after(words, "--filter").removeprefix("jnam=")
    asked = [word for word in words if re.fullmatch(r"\d+(\[\d+\])?", word)]
    bad = [job_id for job_id in asked if not system.knows(local(job_id))]
    code = 0
    for job_id in bad:
        code = _error(system, f"0211 pjstat Invalid jobid: {job_id}.")
    if bad and (system.is_on("strict ids") or bad == asked):
        return code
    if name:
        jobs = system.query(name=name)
    else:
        ids = [job_id for job_id in asked if job_id not in bad] or system.all_ids()
        jobs = system.query([local(job_id) for job_id in ids]) if ids else []
    for job in jobs:
        write_statistics(system, job)
    rows = _rows(system, jobs, sub_jobs="-E" in words)
    if "-s" in words and "--data" not in words:
        for job, row in rows:
            print(record(job, row))
        return code
    history = "-H" in words
    shown = [row for _, row in rows if (row["ST"] in ENDED) is history and not (history and system.is_on("no history"))]
    if system.is_on("banner"):
        print(f"{BANNER}\n")
    chosen = next((word.removeprefix("--choose=") for word in words if word.startswith("--choose=")), "")
    if chosen and not system.is_on("ignores options"):
        mark = "|" if system.is_on("bars") else ","
        names = [_CHOSEN[key] for key in chosen.split(",")]
        print(mark.join(["H", *names]))
        for row in shown:
            print(mark.join(["", *(row[each] for each in names)]))
    else:
        names = _VERBOSE if "-v" in words else _PLAIN
        print("  ".join(names))
        for row in shown:
            print("  ".join(row.get(each, "-") for each in names))
    return code


def _rows(system: Embedded, jobs: list[Job], *, sub_jobs: bool) -> list[tuple[Job, dict[str, str]]]:
    """One for each job; and above the sub-jobs of a bulk job its own, with a state that sums them up and no exit code."""
    rows: list[tuple[Job, dict[str, str]]] = []
    seen: set[str] = set()
    for job in jobs:
        row = row_of(system, job)
        if job["index"] is not None and job["array_id"] not in seen:
            seen.add(job["array_id"])
            rows.append((job, {**row, "JOB_ID": job["array_id"], "EC": "-"}))
        if job["index"] is None or sub_jobs:
            rows.append((job, row))
    return rows


def _limits(system: Embedded, group: str) -> int:
    def line(name: str, most: int | None, taken: int) -> None:
        print(f"  {name:<38} {'unlimited' if most is None else most:>10} {taken:>13}")

    taken = _accepted(system)
    print(" System Resource Information:\n RSCUNIT: rscunit_ft01")
    for section in (" USER: u10001", f" GROUP: {group or 'hp200999'}", " ALL:"):
        print(f"{section}\n  LIMIT-NAME                           LIMIT         ALLOC")
        is_group = "GROUP" in section
        line("ru-accept", _set(system, "accept") if is_group else None, taken)
        if is_group:
            line("ru-accept-allsubjob", None, taken)
            line("ru-accept-bulksubjob", _set(system, "bulk"), 0)
        line("ru-run-job", None, taken)
    return 0


def _after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1] if option in words else ""


# -- pjdel and pjacl


def _pjdel(system: Embedded, words: list[str]) -> int:
    code = 0
    for job_id in words:
        if system.knows(local(job_id)):
            system.cancel([local(job_id)])
            print(f"[INFO] PJM 0100 pjdel Accepted job {job_id}.")
        else:
            code = _error(system, f"0112 pjdel Job {job_id} does not exist.")
    return code


def _pjacl(system: Embedded, words: list[str]) -> int:
    print(f"RSCUNIT: rscunit_ft01  RSCGRP: {_after(words, '--rg') or 'small'}")
    print("  elapse=  00:00:01  72:00:00  00:30:00\n  node=  1  384  1")
    if (most := _set(system, "bulk")) is not None:
        print(f"  bulksubjob  -  {most}  -")
    print("  pjsub  + deny g(fugaku)")
    for name in ("pjsub-batch", "pjsub-bulk", "pjsub-step"):
        print(f"  {name:<20} {'disable' if name == 'pjsub-bulk' and system.is_on('no bulk') else 'enable'}")
    return 0


# -- mpiexec, inside a job


def _mpiexec(words: list[str]) -> int:
    """Fujitsu's: each rank prints into files of its own below `output.<jobid>/`, and nothing into the job's log."""
    ranks, program = int(words[1]), words[2:]
    folder = Path(f"output.{os.environ['PJM_JOBID']}", "0", "1")
    folder.mkdir(parents=True)
    codes = []
    for rank in range(ranks):
        with Path(folder, f"stdout.1.{rank}").open("wb") as out, Path(folder, f"stderr.1.{rank}").open("wb") as err:
            codes.append(subprocess.run(program, stdout=out, stderr=err, check=False).returncode)
    return max(codes)
