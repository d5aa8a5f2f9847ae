"""What `dagster-hpc doctor` asks of Slurm. Each function turns one answer into one finding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from dagster_hpc.checks.base import Demand, Finding, Probe
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.schedulers.slurm.words import transient
from dagster_hpc.engine.units import format_walltime

_OLDEST = (20, 11)
_UNREACHED = "check SLURM_CONF, munge, and with your site whether slurmctld runs."
_REASONS = {"down": "jobs wait there and do not start", "drain": "it takes no new jobs", "inact": "it takes no jobs"}


def probes(slurm: Slurm, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    ask = slurm.ask
    accounts = Call(("sacctmgr", "-n", "-P", "show", "assoc", f"user={user}", "format=Account"))
    partitions = ask("sinfo", "-h", "-a", "-o", "%P|%l|%a|%D")
    return [
        Probe("sbatch", ask("sbatch", "--version"), _version),
        Probe("scancel", ask("scancel", "--version"), _version),
        Probe("squeue", ask("squeue", "-h", "--me", "-o", "%i"), _queue),
        Probe("sacct", ask("sacct", "-n", "-P", "-X", "-S", "now-1minutes", "--format=JobID"), _accounting, "warn"),
        Probe("slurmctld", ask("scontrol", "show", "config"), _controller, "warn"),
        *(Probe("partition", partitions, partial(_partition, demand), "warn") for demand in demands),
        *(
            Probe("account", accounts, partial(_account, project), "warn")
            for project in dict.fromkeys(demand.project for demand in demands)
            if project
        ),
    ]


def _version(answer: Answer) -> Finding:
    program, words = answer.argv[0], answer.stdout.strip()
    version = re.search(r"(\d+)\.(\d+)", words)
    if answer.code != 0 or version is None:
        return Finding("fail", f"`{program} --version` does not work: {answer.words}", _UNREACHED)
    if (int(version[1]), int(version[2])) < _OLDEST:
        return Finding("warn", f"{words} is older than 20.11, the oldest that is known to work", "ask for an update.")
    return Finding("ok", words)


def _queue(answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding("fail", f"the controller does not answer: {answer.words}", _UNREACHED)
    number = sum(line[:1].isdigit() for line in answer.stdout.splitlines())
    return Finding("ok", f"the controller answers; {number} of your jobs are in the queue")


def _accounting(answer: Answer) -> Finding:
    if answer.code == 0:
        return Finding("ok", "accounting is on")
    if "accounting storage is disabled" in answer.words:
        return Finding(
            "warn",
            "accounting is off: CPU time, memory peak and energy of jobs stay unknown, and a job that leaves the queue "
            "while nobody looks is judged by its own files alone, which cannot tell why it was killed",
            "ask your site for slurmdbd; without it, jobs run all the same.",
        )
    advice = "wait until slurmdbd is back, or ask your site." if transient(answer.words) else "ask your site."
    return Finding("warn", f"accounting does not answer, so jobs are seen to end minutes late: {answer.words}", advice)


def _controller(answer: Answer) -> Finding:
    """Slurm's own time of day stands at the head of its configuration."""
    if answer.code != 0:
        return Finding("warn", f"`scontrol show config` does not work: {answer.words}", _UNREACHED)
    stamp = re.search(r"Configuration data as of (\S+)", answer.stdout)
    name = re.search(r"^ClusterName\s*=\s*(\S+)", answer.stdout, re.MULTILINE)
    try:
        clock = datetime.fromisoformat(stamp[1]).timestamp() if stamp else None
    except ValueError:
        clock = None
    return Finding("ok", f"cluster {name[1] if name else 'without a name'}", clock=clock)


def _partition(demand: Demand, answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding("warn", f"the partitions cannot be listed: {answer.words}", _UNREACHED)
    rows = [cells for line in answer.stdout.splitlines() if len(cells := line.split("|")) == 4]
    partitions = {name.rstrip("*"): rest for name, *rest in rows}
    default = next((name.rstrip("*") for name, *_ in rows if name.endswith("*")), "")
    name = demand.queue or default
    if not name:
        listed = ", ".join(sorted(partitions))
        return Finding("fail", "Slurm has no default partition", f"set queue_cpu of the target to one of {listed}.")
    if name not in partitions:
        hint = did_you_mean(name, list(partitions))
        return Finding(
            "fail", f"there is no partition {name!r}: {hint}", "correct queue_cpu / queue_gpu of the target."
        )
    limit, state, nodes = partitions[name]
    limit_s = parse_limit(limit)
    too_long = {who: time_s for who, time_s in demand.walltimes_s.items() if limit_s is not None and time_s > limit_s}
    if too_long:
        asked = ", ".join(f"profile {who!r} asks for {format_walltime(time_s)}" for who, time_s in too_long.items())
        return Finding(
            "fail",
            f"partition {name} allows {limit}, but {asked}",
            "shorten the walltime, or send these profiles to another partition.",
        )
    if state != "up":
        why = _REASONS.get(state, "jobs may not start")
        return Finding("warn", f"partition {name} is {state}: {why}", f"wait, or ask your site; `sinfo -p {name}`.")
    kind = "" if demand.queue else ", the default"
    return Finding("ok", f"{name}{kind}: {nodes} node{'' if nodes == '1' else 's'}, time limit {limit}")


def _account(project: str, answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding(
            "warn", f"whether the account {project} is yours cannot be told: {answer.words}", "ask your site."
        )
    mine = list(dict.fromkeys(answer.stdout.split()))
    if project.lower() in mine:  # Slurm knows accounts in lower case only
        return Finding("ok", f"{project} is one of your accounts")
    if not mine:
        return Finding("warn", f"Slurm lists no account of yours, so {project} may be refused", "ask your site.")
    return Finding(
        "fail",
        f"the account {project!r} is not one of yours: {did_you_mean(project, mine)}",
        "correct project_cpu / project_gpu of the target.",
    )


def parse_limit(text: str) -> int | None:
    """Seconds of `1-00:00:00`, `12:00:00` or `1:30` (minutes first); None where there is no limit."""
    match = re.fullmatch(r"(?:(\d{1,6})-)?(?:(\d{1,6}):)?(\d{1,6}):(\d{1,2})", text.strip(), re.ASCII)
    if not match:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
