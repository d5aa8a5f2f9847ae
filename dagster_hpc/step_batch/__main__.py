"""The commands, for the engine: they print what `schedulers/steps` reads.

python -m dagster_hpc.step_batch --spool DIR submit job.step     prints the id
python -m dagster_hpc.step_batch --spool DIR query ID ID_3       prints JSON
python -m dagster_hpc.step_batch --spool DIR cancel ID
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
from collections.abc import Sequence
from typing import Any

from dagster_hpc.step_batch import spool
from dagster_hpc.step_batch.directives import Refused, parse
from dagster_hpc.step_batch.folder import Folder

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; every refusal is one line on stderr."""
    asked = _parser().parse_args(argv)
    try:
        code, out, err = answer(Folder(os.path.realpath(asked.spool)), asked.command, asked.words, time.time())
    except OSError as error:
        code, out, err = 1, "", f"cannot use the spool: {error.filename or asked.spool}: {error.strerror}"
    sys.stdout.write(out)
    if err:
        print(f"step_batch: error: {err}", file=sys.stderr)
    return code


def answer(folder: Folder, command: str, words: Sequence[str], now: float) -> tuple[int, str, str]:
    """What a command says: exit code, stdout, stderr."""
    if command == "submit":
        return _submit(folder, words[0], now)
    if command == "query":
        return 0, _query(folder, words), ""
    if command == "find":
        return 0, json.dumps(spool.named(folder, words[0])), ""
    if command == "cancel":
        return _cancel(folder, words, now)
    spool.make(folder)
    folder.create("name", "".join(secrets.choice(_LETTERS) for _ in range(6)).encode())
    return 0, (folder.read("name") or b"").decode(), ""


def _submit(folder: Folder, path: str, now: float) -> tuple[int, str, str]:
    script = folder.read(path)
    if script is None:
        return 1, "", f"cannot read the script {path}"
    try:
        submission = parse(script.decode("utf-8", "surrogateescape"), path, now)
    except Refused as error:
        return 1, "", str(error)
    spool.make(folder)
    spool.submit(folder, submission)
    return 0, submission.token, ""


def _query(folder: Folder, ids: Sequence[str]) -> str:
    jobs: list[dict[str, Any]] = []
    asked = set(ids)
    for token in dict.fromkeys(spool.split(one)[0] for one in ids):
        jobs += [one for one in spool.records(folder, token) or () if {one["id"], token} & asked]
    shown = {one["id"] for one in jobs} | {one["array_id"] for one in jobs}
    return json.dumps({"jobs": jobs, "unknown": [one for one in ids if one not in shown]})


def _cancel(folder: Folder, ids: Sequence[str], now: float) -> tuple[int, str, str]:
    unknown = []
    for one in ids:
        token, index = spool.split(one)
        submission = spool.read(folder, token)
        if submission is None:
            unknown.append(one)
        else:
            spool.cancel(folder, token, submission.indices if index is None else [index], now)
    return (1, "", f"no job {' '.join(unknown)} in this spool") if unknown else (0, "", "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="step_batch", description="The queue of steps of one allocation.")
    parser.add_argument("--spool", required=True, metavar="DIR")
    parser.add_argument("command", choices=("identify", "submit", "query", "find", "cancel"))
    parser.add_argument("words", nargs="*", metavar="WORD", help="a script, a name, or ids")
    return parser


if __name__ == "__main__":
    sys.exit(main())
