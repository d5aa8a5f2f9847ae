"""Every name and path in a job's directory, in one place. Pure: nothing here touches a file.

```
<work_root>/<name>/<token>/      the job's directory: inputs, outputs and whatever the program writes
  stdout.log  stderr.log         what the program says
  scheduler.log                  what the batch system adds, where its log is not in .job/
  .job/                          ours: the script, and what it writes of its own life
  .pipes/                        of a job that speaks Dagster Pipes: its context, and what it reports
  .job/request.json  .job/inputs  where the job may be tried again: what was asked for, and the inputs as they were
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
REQUEST = "request.json"  # what was asked for, for a further attempt; where there may be any
INPUTS = "inputs"  # the inputs as they were, for the same: a program may change its own

# Written by the script.
LOCK = "lock"  # one line: the id of the job that runs here, or CLOSED
LOCK_AGAIN = "lock.again"  # who took over a lock that was left empty
STARTED, EXIT_CODE, SIGNAL, FAILURE, TIMES = "started", "exit_code", "signal", "failure", "times"
ENDED = "ended"

# Of a job that speaks Dagster Pipes. Messages are of one life: a requeued job writes into a file of another name.
PIPES_DIR = ".pipes"
PIPES_CONTEXT, PIPES_EXTRAS, PIPES_SETUP = "context.json", "extras.json", "setup.sh"
PIPES_MESSAGES = "messages"  # followed by the time at which this life began, as it stands in STARTED
PIPES_VARIABLE = "HPC_PIPES_MESSAGES"  # in the job: where its messages go

CLOSED = "closed"  # stands in the lock of a submission that nobody may run any more
DUPLICATE_EXIT_CODE = 94  # a copy of a submission that is closed, or that another job runs, stops with this code


def protocol_path(directory: str, name: str) -> str:
    """A file of ours in a job's (or an element's) directory."""
    return posixpath.join(directory, PROTOCOL_DIR, name)


def pipes_name(name: str) -> str:
    """A file of Dagster Pipes, below a job's (or an element's) directory."""
    return f"{PIPES_DIR}/{name}"


def messages_path(directory: str, life: str) -> str:
    """What the job in this directory has reported in the life that began at this time."""
    return posixpath.join(directory, PIPES_DIR, f"{PIPES_MESSAGES}.{life}")


def script_name(suffix: str) -> str:
    """The script's place below the directory: in `.job/`, where no input can take it."""
    return f"{PROTOCOL_DIR}/script{suffix}"


def script_path(directory: str, suffix: str) -> str:
    """The job script, for the whole of an array job; `suffix` is the scheduler's, `.slurm`."""
    return posixpath.join(directory, script_name(suffix))


def script_path_of_0_1(directory: str, name: str, suffix: str) -> str:
    """Where version 0.1.0 put it, for the jobs of a ledger that was upgraded."""
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in name).strip("-.")[:64]
    return posixpath.join(directory, (clean or "job") + suffix)


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
