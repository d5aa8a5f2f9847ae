"""A Flux that answers byte for byte like the recorded one: flux batch, submit, jobs, cancel, job, resource, queue.

It is built on our embedded batch system, which runs the scripts for real. Ids are those of the embedded system, shifted
as Flux's are, so that they are long. Switches: `down` (the broker is gone), `bytes`, `truncate`, `banner`, `ascii`,
`lost reply`. Ends that a test gives to a job: `node lost`, `never ran`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.simulators.embedded import FINAL, Embedded, Job, Refused, directive_words

COMMANDS = ("flux",)
QUEUES = ("batch", "debug")
NODE, CORES = "vm", 8
NODE_LOST = {"result": "FAILED", "type": "node-failure", "note": "lost contact with vm"}
NEVER_RAN = {"result": "FAILED", "type": "alloc", "note": "unsatisfiable request: need 99 slot(s) of 1 core(s)"}
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SHIFT = 24  # the lowest bits of an id count jobs of one moment; the time stands above them
_AFTER = {"afterok": "ok", "afterany": "any", "afternotok": "notok"}
_CALLED = {"afterok": "after-success", "afterany": "after-finish", "afternotok": "after-failure"}
_RESULTS = {"COMPLETED": "COMPLETED", "CANCELLED": "CANCELED", "TIMEOUT": "TIMEOUT"}
_THREE_QUOTES = re.compile(r"""^# flux: (.*["']{3}.+)$""", re.MULTILINE)  # they begin a value of several lines
_SHORT = {"-n": "nslots", "-N": "nodes", "-c": "cores-per-slot", "-t": "time-limit", "-q": "queue", "-B": "bank"}


def main() -> int:
    system, words = Embedded(Path(sys.argv[1])), sys.argv[3:]
    if words == ["--version"]:
        print("commands:    \t\t0.88.0\nlibflux-core:\t\t0.88.0")
        return 0
    verb, *rest = words or [""]
    if system.is_on("down"):
        text = "Unable to connect to Flux: broker socket /nonexistent/x was not found"
        return _say(f"flux-{verb}: ERROR: {text}")
    respond = {"batch": _batch, "submit": _batch, "jobs": _jobs, "cancel": _cancel, "job": _job}
    respond |= {"resource": _resource, "queue": _queue, "lsattr": _lsattr}
    if verb not in respond:
        return _say(f"flux: `{verb}' is not a flux command.  See 'flux --help'")
    return system.answer(lambda: respond[verb](system, rest))


def _say(text: str, code: int = 1) -> int:
    print(text, file=sys.stderr)
    return code


def _lsattr(system: Embedded, words: Sequence[str]) -> int:
    for name, value in {"hostlist": "node1", "instance-level": "0", "local-uri": "local:///run/flux/local"}.items():
        print(f"{name:<40}{value}")
    return 0


# -- ids


def f58(number: int, prefix: str = "ƒ") -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 58)
        digits = _BASE58[rest] + digits
    return prefix + (digits or "1")


def there(job_id: str) -> int:
    """The embedded system's id as Flux's."""
    return int(job_id) << _SHIFT


def here(text: str) -> str | None:
    """Flux's id, in any of its forms, as the embedded system's; None for what is no id."""
    if re.fullmatch(r"[ƒf][" + _BASE58 + "]+", text):
        number = 0
        for character in text[1:]:
            number = number * 58 + _BASE58.index(character)
    elif text.isdigit():
        number = int(text)
    else:
        return None
    low = number & ((1 << _SHIFT) - 1)
    return "0" if low else str(number >> _SHIFT)


# -- flux batch


def _batch(system: Embedded, words: Sequence[str]) -> int:
    *options, path = words
    try:
        script = Path(path).read_bytes()
    except OSError:
        return _say(f"flux-batch: ERROR: No such file or directory: {path!r}")
    try:
        text = script.decode("utf-8")
    except UnicodeDecodeError:
        return _say(f"flux-batch: ERROR: {path} does not appear to be a script, or failed to encode as utf-8")
    if quoted := _THREE_QUOTES.search(text):
        line = text.count("\n", 0, quoted.start()) + 1
        return _say(f"flux-batch: ERROR: {path}: line {line}: unclosed triple quote: {quoted[1]}")
    asked, waits, unknown = _asked(text, options)
    if unknown:
        return _say(
            f"usage: flux batch [OPTIONS...] COMMAND [ARGS...]\nflux batch: error: unrecognized arguments: {unknown}", 2
        )
    if asked.get("queue", "batch") not in QUEUES:
        return _say(f"[Errno 22] '{asked['queue']}' is not a valid queue")
    limit = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", asked.get("time-limit", "0"))
    if not limit:
        return _say("flux-batch: ERROR: invalid Flux standard duration")
    seconds = float(limit[1]) * {"": 60, "s": 1, "m": 60, "h": 3600, "d": 86400}[limit[2]]
    slots, cores = int(asked.get("nslots", "1")), int(asked.get("cores-per-slot", "1"))
    directives = [
        f"name={asked.get('job-name', Path(path).name)}",
        f"output={asked.get('output', '/dev/null').replace('%', '%%')}",
        f"cores={min(slots * cores, 64)}",
        *([f"time={seconds:.0f}"] if seconds else []),
    ]
    try:
        depends = [_dependency(system, wait) for wait in waits]
    except ValueError as error:
        return _say(f"[Errno 22] {error}")
    directives += [f"after={_AFTER[kind]}:{job_id}" for kind, job_id in depends]
    notes = {
        "cwd": asked.get("cwd", "/"),
        "duration": seconds,
        "ntasks": slots,
        "dependencies": [f"{_CALLED[kind]}={f58(there(job_id))}" for kind, job_id in depends],
    }
    signal = re.fullmatch(r"SIG(\w+)@(\d+)s", asked.get("signal", ""))
    directives += [f"signal={signal[1]}@{signal[2]}"] if signal else []
    # What the instance around the script calls it; the script itself runs in an instance of its own.
    variables = {"FLUX_ENCLOSING_ID": f"$(flux job id --to=f58 $((LOCAL_JOB_ID << {_SHIFT})))"}
    held = asked.get("urgency") in ("0", "hold")
    if slots * cores > 64:
        notes["unsatisfiable"] = True
    try:
        job_id = system.submit(script, directives, variables, notes, held=held or "unsatisfiable" in notes)
    except Refused as error:
        return _say(f"[Errno 22] {error}")
    if "unsatisfiable" in notes:
        system.give_end(job_id, NEVER_RAN)
        system.cancel([job_id])
    if system.is_on("lost reply"):
        return _say("flux-batch: ERROR: Unable to connect to Flux: broker socket /run/flux/local: Connection reset")
    if system.is_on("banner"):
        print("*** maintenance on Friday 12 ***")
    print(f58(there(job_id), "f" if system.is_on("ascii") else "ƒ"))
    return 0


def _asked(script: str, options: Sequence[str]) -> tuple[dict[str, str], list[str], str]:
    """What the head of the script asks for, its dependencies, and an option that Flux does not know."""
    known = {
        "job-name", "output", "error", "cwd", "nodes", "nslots", "cores-per-slot", "gpus-per-slot", "exclusive",
        "time-limit", "queue", "bank", "signal", "urgency", "dependency",
    }  # fmt: skip
    asked: dict[str, str] = {}
    waits: list[str] = []
    for words in [*directive_words(script, "# flux:"), list(options)]:
        for word in words:
            name, _, value = word.removeprefix("--").partition("=")
            name = _SHORT.get(name, name)
            if name not in known:
                return asked, waits, word
            if name == "dependency":
                waits.append(value)
            asked[name] = value
    return asked, waits, ""


def _dependency(system: Embedded, text: str) -> tuple[str, str]:
    kind, _, on = text.partition(":")
    if kind not in _AFTER:
        raise ValueError(f'dependency scheme "{kind}" not supported')
    job_id = here(on)
    if job_id is None or not system.knows(job_id):
        raise ValueError(f"dependency: {kind}: id {on}: job not found")
    (job,) = system.query([job_id])
    ended_well = job["state"] == "COMPLETED"
    if job["state"] in FINAL and ended_well is not (kind == "afterok") and kind != "afterany":
        why = "failed or was canceled" if kind == "afterok" else "completed successfully"
        raise ValueError(f"dependency: {kind}: job {f58(there(job_id))} {why}")
    return kind, job_id


# -- flux jobs


def _jobs(system: Embedded, words: Sequence[str]) -> int:
    name = next((word.removeprefix("--name=") for word in words if word.startswith("--name=")), None)
    given = [word for word in words if not word.startswith("-")]
    wrong = next((word for word in given if here(word) is None), None)
    if wrong is not None:
        usage = f"usage: flux jobs [OPTIONS] [JOBID...]\nflux-jobs: error: argument JOBID...: invalid JobID value: {wrong!r}"
        return _say(usage, 2)
    missing = [word for word in given if not system.knows(here(word) or "0")]
    for word in missing:
        _say(f"JobID {word} unknown")
    if given and len(missing) == len(given):
        return 1
    ids = [local for word in given if (local := here(word)) and word not in missing]
    if not given:
        ids = system.all_ids() if "-a" in words else []
    jobs = system.query(ids) if ids else [] if "-a" in words or given else system.query()
    records = [_record(job) for job in jobs if name is None or job["name"] == name]
    print(json.dumps(records[0] if len(given) == 1 and records else {"jobs": records}))
    return 0


def _record(job: Job) -> dict[str, Any]:
    """The keys that the real one has at this point of a job's life; what is not known is absent."""
    notes, number = job["notes"], there(job["id"])
    over = job["state"] in FINAL
    ran = bool(job["begun"]) and job["started_at"] is not None
    waits = job["state"] == "HELD" and not over
    record: dict[str, Any] = {
        "t_depend": job["submitted_at"] + 0.01, "duration": notes.get("duration", 0.0), "name": job["name"],
        "cwd": notes.get("cwd", "/"), "ntasks": notes.get("ntasks", 1), "ncores": job["cores"], "id": number,
        "t_submit": job["submitted_at"], "username": "user", "userid": 1000, "urgency": 0 if job["held"] else 16,
        "dependencies": notes.get("dependencies", []), "jobid": f58(number), "annotations": {},
        "exception": {"occurred": False},
    }  # fmt: skip
    if ran:
        record |= {"t_run": job["started_at"], "nnodes": 1, "ranks": "0", "nodelist": NODE}
    if not over:
        record["state"] = record["status"] = "RUN" if ran else "DEPEND" if waits else "SCHED"
        return record
    end = job["ended_at"]
    record |= {"state": "INACTIVE", "t_cleanup": end, "t_inactive": end, **_ending(job, ran)}
    record["status"] = record["result"]
    record["success"] = record["result"] == "COMPLETED"
    if ran:
        record["runtime"] = max(0.0, end - job["started_at"])
    return record


def _ending(job: Job, ran: bool) -> dict[str, Any]:
    given = job["end"]
    if given:
        why = {"occurred": True, "severity": 0, "type": given["type"], "note": given["note"]}
        return {"result": given["result"], "returncode": 1, "exception": why}
    state = job["state"]
    if state == "CANCELLED" and "can never start" in (job["reason"] or ""):
        waits = (job["notes"].get("dependencies") or ["?"])[0]
        note = f"dependency {waits} can never be satisfied"
        why = {"occurred": True, "severity": 0, "type": "dependency", "note": note}
        return {"result": "FAILED", "returncode": 1, "exception": why}
    if state == "CANCELLED":
        why = {"occurred": True, "severity": 0, "type": "cancel", "note": ""}
        code = {"returncode": 143, "waitstatus": 143 << 8} if ran else {"returncode": -128}
        return {"result": "CANCELED", **code, "exception": why}
    if state == "TIMEOUT":
        note = "resource allocation expired"
        why = {"occurred": True, "severity": 0, "type": "timeout", "note": note}
        return {"result": "TIMEOUT", "returncode": 142, "waitstatus": 36352, "exception": why}
    code = job["exit_code"] if job["exit_code"] is not None else 128 + (job["signal"] or 0)
    return {"result": _RESULTS.get(state, "FAILED"), "returncode": code, "waitstatus": code << 8}


# -- the rest


def _cancel(system: Embedded, words: Sequence[str]) -> int:
    if not words:
        return _say("flux-cancel: ERROR: No target jobs were provided")
    code = 0
    for word in words:
        local = here(word)
        if local is None:
            usage = "usage: flux cancel [OPTIONS] [JOBID...]\n"
            return _say(f"{usage}flux-cancel: error: argument JOBID...: invalid JobID value: {word!r}", 2)
        number = int(word) if word.isdigit() else there(local)
        if not system.knows(local):
            code = _say(f"flux-cancel: ERROR: {f58(number)}: unknown job id")
        elif all(job["state"] in FINAL for job in system.query([local])):
            code = _say(f"flux-cancel: ERROR: {f58(number)}: job is inactive")
        else:
            system.cancel([local])
    return code


def _job(system: Embedded, words: Sequence[str]) -> int:
    if words[:1] == ["urgency"] and len(words) == 3:
        local = here(words[1]) or "0"
        (system.hold if words[2] in ("0", "hold") else system.release)(local)
        return 0
    if words[:2] == ["id", "--to=dec"] and len(words) == 3:
        print(there(here(words[2]) or "0"))
        return 0
    if words[:2] == ["id", "--to=f58"] and len(words) == 3:
        print(f58(there(here(words[2]) or "0")))
        return 0
    return _say("flux-job: ERROR: unknown command")


def _resource(system: Embedded, words: Sequence[str]) -> int:
    print(f"     STATE NNODES NCORES NGPUS NODELIST\n      free      1 {CORES:>6}     0 {NODE}")
    print(" allocated      0      0     0 \n      down      0      0     0 ")
    return 0


def _queue(system: Embedded, words: Sequence[str]) -> int:
    print("\n".join(QUEUES))
    return 0
