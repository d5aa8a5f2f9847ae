"""Every name and path in a job's directory, in one place. Pure: nothing here touches a file.

```
<work_root>/<name>/<token>/      the job's directory: inputs, outputs and whatever the program writes
  stdout.log  stderr.log         what the program says
  scheduler.log                  what the batch system adds, where its log is not in .job/
  .job/                          ours: the script, and what it writes of its own life
  .job/ended/<index>             array job: one empty file for each element that has come to its end
  <index>/  <index>/.job/        array job: the directory of an element, with a lock and an exit code of its own
```
"""

from __future__ import annotations

import posixpath

PROTOCOL_DIR = ".job"
STDOUT, STDERR, SCHEDULER_LOG = "stdout.log", "stderr.log", "scheduler.log"

# Placed before the job is submitted. The script reads them.
COMMAND = "command.sh"  # the text of Command.shell
STDIN = "stdin"
ELEMENTS = "elements.sh"  # the further arguments of each element of an array job
ENVIRONMENT = "environment"  # secret environment variables, for no eye but the script's
ROW = "row.json"  # the job's row in the ledger, for a ledger that was lost

# Written by the script.
LOCK = "lock"  # one line: the id of the job that runs here, or CLOSED
LOCK_AGAIN = "lock.again"  # who took over a lock that was left empty
STARTED, EXIT_CODE, SIGNAL, FAILURE, TIMES = "started", "exit_code", "signal", "failure", "times"
ENDED = "ended"

CLOSED = "closed"  # stands in the lock of a submission that nobody may run any more
DUPLICATE_EXIT_CODE = 94  # a copy of a submission that is closed, or that another job runs, stops with this code


def protocol_path(directory: str, name: str) -> str:
    """A file of ours in a job's (or an element's) directory."""
    return posixpath.join(directory, PROTOCOL_DIR, name)


def script_name(suffix: str) -> str:
    """The script's place below the directory: in `.job/`, where no input can take it."""
    return f"{PROTOCOL_DIR}/script{suffix}"


def script_path(directory: str, suffix: str) -> str:
    """The job script, for the whole of an array job; `suffix` is the scheduler's, `.slurm`."""
    return posixpath.join(directory, script_name(suffix))


def directory_of_script(path: str) -> str:
    """The job's directory, from the path of its script."""
    folder = posixpath.dirname(path)
    return posixpath.dirname(folder) if posixpath.basename(folder) == PROTOCOL_DIR else folder


def element_directory(directory: str, index: int) -> str:
    """Where an element of the array job in this directory runs."""
    return posixpath.join(directory, str(index))


def batch_directory(work_dir: str, index: int | None) -> str:
    """Where script and inputs lie: the job's own directory, or for an element the one above."""
    return work_dir if index is None else posixpath.dirname(work_dir)


def lock_paths(directory: str) -> tuple[str, str]:
    """The lock, and the one that counts where the first was left empty (by a node that died, or a full disk)."""
    return protocol_path(directory, LOCK), protocol_path(directory, LOCK_AGAIN)


def ended_directory(directory: str) -> str:
    """Array job: listing this directory tells the indices of all elements that have come to their end."""
    return protocol_path(directory, ENDED)


def folders(elements: int = 0) -> list[str]:
    """The folders below a job's directory that must be there before it is submitted."""
    if not elements:
        return [PROTOCOL_DIR]
    return [PROTOCOL_DIR, f"{PROTOCOL_DIR}/{ENDED}", *(f"{index}/{PROTOCOL_DIR}" for index in range(elements))]
