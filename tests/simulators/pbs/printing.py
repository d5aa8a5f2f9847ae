"""How PBS prints what it says of jobs: JSON, full text, tables."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any

from tests.simulators.pbs.server import HOST

LINE = 79

Attributes = dict[str, Any]


def say(*lines: str) -> int:
    write("".join(f"{line}\n" for line in lines).encode())
    return 0


def write(content: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def as_json(shown: dict[str, Attributes], *, client: str = "main", foreign: bool = False) -> bytes:
    """The release and the main branch use different libraries."""
    document: dict[str, Any] = {"timestamp": int(time.time()), "pbs_version": "23.06.06", "pbs_server": HOST}
    if shown:
        document["Jobs"] = shown
    style = {"main": ("\t", ":\t"), "release": (4, ":")}[client]
    text = json.dumps(document, indent=style[0], separators=(",", style[1])) + "\n"
    name = b'"PBS_O_SYSTEM"'
    return text.encode().replace(name, b'"LATIN":"caf\xe9",' + name) if foreign else text.encode()


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


def table(shown: dict[str, Attributes]) -> str:
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
