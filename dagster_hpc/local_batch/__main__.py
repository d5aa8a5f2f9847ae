"""The commands: submit, query, cancel, and the internal one that is the daemon itself.

python -m dagster_hpc.local_batch submit --spool DIR job.sh     prints the job id
python -m dagster_hpc.local_batch query  --spool DIR 12 13      prints JSON
python -m dagster_hpc.local_batch cancel --spool DIR 12
"""

import argparse
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import NoReturn

from dagster_hpc.local_batch import doorbell, job, knobs, spool, transitions
from dagster_hpc.local_batch.directives import Refused, duration, parse_job_id, parse_script
from dagster_hpc.local_batch.job import Job
from dagster_hpc.local_batch.processes import MARK
from dagster_hpc.local_batch.report import report
from dagster_hpc.local_batch.spool import Spool

# Of another job, or by which Python found this program: a job that needs PYTHONPATH is to set its own.
_NOT_FOR_JOBS = (b"LOCAL_ARRAY_INDEX", MARK.encode(), b"PYTHONPATH")


def main(argv: list[str] | None = None) -> int:
    """Run one command; every refusal is one line on stderr."""
    asked = _parser().parse_args(argv)
    umask = os.umask(0o077)  # the spool holds environments, which hold secrets
    directory = Path(asked.spool)
    try:
        directory = Path(os.path.realpath(directory))  # one name for one spool: it is part of every job's mark
        spool.check_private(directory)
        if asked.command == "submit":
            return _submit(directory, asked, umask)
        if asked.command == "query":
            return _query(directory, asked.names, asked.ids)
        if asked.command == "cancel":
            return _cancel(directory, asked.ids)
        from dagster_hpc.local_batch import daemon

        return daemon.main(directory)
    except Refused as error:
        return _complain(str(error))
    except sqlite3.Error as error:
        return _complain(f"cannot use the spool {directory}: {error}")
    except OSError as error:
        return _complain(f"{error.filename or directory}: {error.strerror}")
    finally:
        os.umask(umask)  # a caller in the same process keeps its own


def _submit(directory: Path, asked: argparse.Namespace, umask: int) -> int:
    path = Path(asked.script)
    try:
        script = path.read_bytes()
    except OSError as error:
        raise Refused(f"cannot read the script {path}: {error.strerror}") from error
    cwd = Path(os.path.abspath(asked.cwd))
    if not cwd.is_dir():
        raise Refused(f"cannot work in {cwd}: there is no such directory")
    try:
        request = parse_script(script)
    except Refused as error:
        raise Refused(f"{path}: {error}") from error
    environment = {key: value for key, value in os.environb.items() if key not in _NOT_FOR_JOBS}
    knobs.check()
    grace = knobs.seconds("KILL_AFTER") if asked.kill_after is None else asked.kill_after
    spool.create(directory)
    with Spool(directory) as open_spool:
        transitions.keep_capacity(open_spool, asked.capacity_cores, asked.capacity_memory)
        around = transitions.Surroundings(environment, cwd, umask, grace)
        submission = transitions.submit(open_spool, request, script, path.name, around)
    try:
        doorbell.rouse(directory)
    except OSError as error:  # the job is queued, and the next query will try again: that is no refusal
        print(f"local_batch: warning: job {submission} is queued, but no daemon: {error}", file=sys.stderr)
    print(submission)
    return 0


def _query(directory: Path, names: list[str], ids: list[str]) -> int:
    jobs = []
    if spool.exists(directory):
        with Spool(directory) as open_spool:
            any_live = open_spool.has_live_jobs()
            jobs = report(open_spool, names, ids)
        if any_live:
            doorbell.rouse(directory, only_look=True)
    shown = {job["id"] for job in jobs} | {str(job["array_id"]) for job in jobs}
    json.dump({"jobs": jobs, "unknown": [text for text in ids if text not in shown]}, sys.stdout)
    print()
    return 0


def _cancel(directory: Path, ids: list[str]) -> int:
    unknown: list[str] = []
    if spool.exists(directory):
        with Spool(directory) as open_spool:
            found: list[Job] = []
            for text in ids:
                wanted = parse_job_id(text)
                jobs = list(job.with_id(open_spool.sql, *wanted)) if wanted else []
                found.extend(jobs)
                if not jobs:
                    unknown.append(text)
            transitions.cancel(open_spool, found)
            any_live = open_spool.has_live_jobs()
        if any_live:
            doorbell.rouse(directory)
    else:
        unknown = ids
    for text in unknown:
        _complain(f"no job {text} in this spool")
    return 1 if unknown else 0


def _complain(text: str) -> int:
    print(f"local_batch: error: {text}", file=sys.stderr)
    return 1


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, like every other refusal."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"local_batch: error: {message}\n")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="local_batch", description="A small batch system for one machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    submit = commands.add_parser("submit", help="queue a script and print its job id")
    submit.add_argument("--capacity-cores", type=_positive, metavar="N", help="what the machine gives, from now on")
    submit.add_argument("--capacity-memory", type=_positive, metavar="MIB", help="the same for memory")
    submit.add_argument("--cwd", default=".", metavar="DIR", help="where the job starts (default: here)")
    submit.add_argument("--kill-after", type=duration, metavar="SECONDS", help="from TERM to KILL (default: 5)")
    submit.add_argument("script", metavar="SCRIPT")
    query = commands.add_parser("query", help="print jobs as JSON; by default all that are not finished")
    query.add_argument("--name", dest="names", action="append", default=[])
    query.add_argument("ids", nargs="*", metavar="ID")
    cancel = commands.add_parser("cancel", help="end jobs, arrays or array elements")
    cancel.add_argument("ids", nargs="+", metavar="ID")
    daemon = commands.add_parser("daemon", help="internal: started by the other commands")
    for command in (submit, query, cancel, daemon):
        command.add_argument("--spool", required=True, metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
