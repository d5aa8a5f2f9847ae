"""The lock in a job's directory: which of the copies that a scheduler may hold of one submission is the one that runs.

The script takes it when it begins, and stops at once if another job has it. The engine takes it to close a submission:
after that no copy can begin any more, however late it comes.
"""

from __future__ import annotations

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.hosts.base import Host


def holder(host: Host, directory: str) -> str:
    """The id of the job that runs in this directory; '' before there is one, `CLOSED` where none can begin any more."""
    for path in jobdir.lock_paths(directory):
        text = (host.read(path, limit=4096) or b"").decode("utf-8", "replace").strip()
        if text:
            return text
    return ""


def close(host: Host, directory: str) -> str:
    """Let no copy begin from now on. The id of one that has begun already; `CLOSED` if there is none.

    `OSError` if the file system does not answer; a directory that is gone can be entered by no copy.
    """
    try:
        for path in jobdir.lock_paths(directory):
            if host.create(path, f"{jobdir.CLOSED}\n".encode()):
                return jobdir.CLOSED
            if host.size(path):
                break  # the second one counts only where the first was left empty
    except FileNotFoundError:
        return jobdir.CLOSED
    return holder(host, directory) or jobdir.CLOSED
