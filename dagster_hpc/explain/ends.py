"""How a job ended, and what could be changed before the next attempt: by its state, its figures, its exit code."""

from __future__ import annotations

from dagster_hpc.engine.job import JobState, advice_on, is_signal, signal_name
from dagster_hpc.engine.units import format_walltime
from dagster_hpc.explain.explanation import Explanation, Facts

_NEAR = 0.9  # of what it was given: a job that was killed there was probably killed for it

# exit code → what a shell, or the kernel, means by it; and what could be changed
EXIT_CODES: dict[int, tuple[str, str]] = {
    126: ("a command was found and could not be executed",
          "Check that it is a program for these nodes, and that its file may be executed (`chmod +x`)."),
    127: ("a command was not found",
          "Check its name, `modules` and `pre_commands` of the profile, and `executable_map` of the target."),
    130: ("it was interrupted (SIGINT)", "Find out who sent it; the program itself may have."),
    134: ("the program gave up by itself (SIGABRT): a failed assertion, or memory that it could not get",
          "Read the last lines of stderr.log: it says why before it aborts."),
    135: ("the program touched memory that is not there (SIGBUS), often a file that shrank or a full /dev/shm",
          "Look for a full disk, and for files that are written while they are read."),
    136: ("the program divided by zero, or the like (SIGFPE)", "Look at its input, and at its build's options."),
    137: ("it was killed (SIGKILL), which the kernel does where memory ends",
          "Ask for more memory_per_node. If it used little, ask the site who killed it."),
    139: ("the program touched memory that is not its own (SIGSEGV)",
          "It is a fault in the program, or a build that does not fit these nodes; also try `ulimit -s unlimited` in "
          "pre_commands."),
    143: ("it was told to end (SIGTERM)", "Find out who sent it: a walltime of its own, or the site."),
}  # fmt: skip
_UNSTARTED = "Look at scheduler.log: often the node cannot see the work directory, or a prologue of the site failed."
_SET_UP = "Run that line by hand on a compute node; `module avail` lists what is there. Then correct the profile."


def explain_end(facts: Facts) -> Explanation:
    """A job that is over."""
    row = facts.row
    code = "" if row.exit_code is None else f" with exit code {row.exit_code}"
    why = f": {row.reason}" if row.reason else ""
    details, remedies = _by_what_it_used(facts)
    if row.state is JobState.FAILED:
        more, others = _by_exit_code(facts)
        details, remedies = [*details, *more], [*remedies, *others]
    if row.missing:
        details.append(f"It left no {', '.join(row.missing)}.")
    if row.next_token:
        details.append(f"It was tried again: {row.next_token} has taken its place.")
    elif row.again_at is not None:
        details.append("It will be tried again by itself.")
    if not row.state.is_success or row.missing:
        advice = advice_on(row.state, bool(row.missing)).replace("TOKEN", row.token)
        remedies.append(f"{advice[0].upper()}{advice[1:]}")
    return Explanation(
        f"It ended as {row.state}{code}{why}.",
        tuple(details),
        words=tuple(facts.stderr.splitlines()),
        remedies=tuple(dict.fromkeys(remedies)),
    )


def _by_what_it_used(facts: Facts) -> tuple[list[str], list[str]]:
    """Used against given."""
    m, given = facts.row.metrics, facts.row.given
    details, remedies = [], []
    if m.elapsed_s is not None and given.walltime_s:
        details.append(f"It ran for {format_walltime(round(m.elapsed_s))} of {format_walltime(given.walltime_s)}.")
    if m.max_rss_mib is not None:
        of = f" of {given.memory_mib} MiB per node" if given.memory_mib else ""
        details.append(f"Its largest process was seen to use {m.max_rss_mib:.0f} MiB{of}.")
    if facts.row.state is JobState.TIMEOUT:
        remedies.append(
            "`dagster-hpc advise` says how much time jobs like it take; RetryRule(on=['TIMEOUT'], walltime=2) asks for more "
            "by itself."
        )
    if facts.row.state is JobState.OOM:
        if not given.memory_mib:
            details.append("It asked for no memory_per_node, and had what the site gives by default.")
        if m.max_rss_mib is not None and given.memory_mib and m.max_rss_mib < _NEAR * given.memory_mib:
            details.append("What was seen is less than the limit: memory grew faster than it is looked at.")
        remedies.append("RetryRule(on=['OOM'], memory=1.5) asks for more by itself.")
    return details, remedies


def _by_exit_code(facts: Facts) -> tuple[list[str], list[str]]:
    row, given = facts.row, facts.row.given
    if row.reason.startswith(("module load", "pre_command")) or "failed with exit code" in row.reason:
        return ["It failed before its program began, in what prepares it."], [_SET_UP]
    if "never began" in row.reason or "could not be started" in row.reason:
        return [], [_UNSTARTED]
    if row.exit_code is None:
        return [], []
    used = row.metrics.max_rss_mib
    if row.exit_code == 137 and used and given.memory_mib and used >= _NEAR * given.memory_mib:
        return ["It was killed (SIGKILL) with nearly all of its memory in use."], ["Ask for more memory_per_node."]
    if row.exit_code in EXIT_CODES:
        meaning, remedy = EXIT_CODES[row.exit_code]
        return [f"Exit code {row.exit_code} mostly means that {meaning}."], [remedy]
    if row.exit_code > 128 and is_signal(row.exit_code - 128):
        return [f"Exit code {row.exit_code} mostly means that {signal_name(row.exit_code - 128)} ended it."], []
    return [], []
