"""What the exit code of an MPI program says: whether there may be an answer to look at, or the start of another try."""

from __future__ import annotations

import signal

# The program's own. Dice ends with 1 when all is well and nothing is sampled, and with 0 when all is wrong.
_OWN = {0, 1}

# How Dice dies where two of them share their memory, or its ranks do not: the answer of a retry is another one.
_CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGSEGV}

# Shells and Open MPI's mpirun add 128 to the signal of the rank that died; so does srun by its manual.
_SHELL = {128 + number for number in _CRASHES}

# Hydra (MPICH, Intel MPI), and srun where it hands on the status as it came, report the bare signal.
_BARE = {int(number) for number in _CRASHES}

# Not among them: SIGKILL (9, 137), by which the kernel ends what takes too much memory and a batch system what it cancels,
# and SIGTERM (15, 143): the next try would end the same way, or nobody wants it. Nor 126 and 127: no such program.
_WORTH_A_LOOK = _OWN | _SHELL | _BARE


def may_have_answered(exit_code: int | None) -> bool:
    """Whether a program that ended with this code may have left an answer, or may well leave one when started again."""
    return exit_code in _WORTH_A_LOOK
