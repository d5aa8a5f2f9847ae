"""What `dagster-hpc doctor` asks of Slurm. Each function turns one answer into one finding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from math import inf

from dagster_hpc.checks.base import Ask, Demand, Finding, Probe, Queue, Survey
from dagster_hpc.checks.mpi import mpi_probes
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.slurm import room
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.schedulers.slurm.words import transient

_OLDEST = (20, 11)
_SHORT_MEMORY_S = 120  # twice the time that may pass between two questions
_UNREACHED = "check SLURM_CONF, munge, and with your site whether slurmctld runs."
_REASONS = {"down": "jobs wait there and do not start", "drain": "it takes no new jobs", "inact": "it takes no jobs"}


def probes(slurm: Slurm, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    ask = slurm.ask
    accounts, partitions = _accounts_of(slurm, user), _partitions(slurm)
    config = ask("scontrol", "show", "config")
    projects = list(dict.fromkeys(demand.project for demand in demands))
    return [
        Probe("sbatch", ask("sbatch", "--version"), _version),
        Probe("scancel", ask("scancel", "--version"), _version),
        Probe("squeue", ask("squeue", "-h", "-u", user, "-o", "%i"), _queue),
        Probe("sacct", ask("sacct", "-n", "-P", "-X", "-S", "now-1minutes", "--format=JobID"), _accounting, "warn"),
        Probe("slurmctld", config, _controller, "warn"),
        Probe("history", config, _history, "warn"),
        Probe("arrays", config, _arrays, "warn"),
        *(Probe("partition", partitions, partial(_partition, demand), "warn") for demand in demands),
        *(Probe("account", accounts, partial(_account, project), "warn") for project in projects if project),
        *(Probe("limits", ask(*room.usage_question(user, project)), _limits, "warn") for project in projects),
        *mpi_probes("slurm", demands),
    ]


def survey(slurm: Slurm, user: str, ask: Ask) -> Survey | None:
    """The partitions, each with what its largest node has; and the accounts of this user."""
    partitions, accounts = ask(_partitions(slurm)), ask(_accounts_of(slurm, user))
    if partitions is None or partitions.code != 0:
        return None
    rows = _rows(partitions)
    mine = accounts.stdout.split() if accounts and accounts.code == 0 else []
    names = list(dict.fromkeys(name.rstrip("*") for name, *_ in rows))
    return Survey([_queue_of(name, rows) for name in names], list(dict.fromkeys(mine)))


def _queue_of(name: str, rows: Sequence[Sequence[str]]) -> Queue:
    mine = [row for row in rows if row[0].rstrip("*") == name]
    kinds = [Nodes.read(*row[3:7]) for row in mine]
    state, sizes = mine[0][2], mine[0][7]
    nodes = sum(kind.number for kind in kinds)
    return Queue(
        name,
        is_default=mine[0][0].endswith("*"),
        nodes=min(nodes, _most_nodes(sizes) or nodes) or None,
        cores_per_node=_finite(max(kind.cores for kind in kinds)),
        memory_per_node_mib=_finite(max(kind.memory_mib for kind in kinds)),
        gpus_per_node=max(kind.gpus for kind in kinds),
        walltime_s=parse_limit(mine[0][1]),
        closed="" if state == "up" else f"it is {state}: {_REASONS.get(state, 'jobs may not start')}",
    )


def _accounts_of(slurm: Slurm, user: str) -> Call:
    return slurm.ask("sacctmgr", "-n", "-P", "show", "assoc", f"user={user}", "format=Account")


def _partitions(slurm: Slurm) -> Call:
    """-e keeps apart the nodes of one partition that differ, in place of `8+`."""
    return slurm.ask("sinfo", "-h", "-a", "-e", "-o", "%P|%l|%a|%D|%c|%m|%G|%s")


def _rows(answer: Answer) -> list[list[str]]:
    return [cells for line in answer.stdout.splitlines() if len(cells := line.split("|")) == 8]


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


def _history(answer: Answer) -> Finding:
    """For how long the queue shows a job that has ended. Where there is no accounting, nothing else does."""
    age = re.search(r"^MinJobAge\s*=\s*(\d+)", answer.stdout, re.MULTILINE)
    if answer.code != 0 or age is None:
        return Finding("warn", f"how long Slurm knows an ended job cannot be told: {answer.words[:200]}", _UNREACHED)
    kept = f"the queue shows a job for {age[1]} s after its end"
    if not re.search(r"^AccountingStorageType\s*=\s*(accounting_storage/none|\(null\))", answer.stdout, re.MULTILINE):
        return Finding("ok", f"{kept}, and the accounting for longer")
    if int(age[1]) < _SHORT_MEMORY_S:
        why = f"{kept}, and no accounting after that: how a job ended may be told by its own files alone"
        return Finding("warn", why, "ask your site for a longer MinJobAge, or for slurmdbd.")
    return Finding("ok", f"{kept}; there is no accounting after that")


def _arrays(answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding("warn", f"whether there are job arrays cannot be told: {answer.words[:200]}", _UNREACHED)
    largest = room.largest_array(answer.stdout)
    if largest is None:
        return Finding("warn", "Slurm does not tell its largest array (MaxArraySize)", "ask your site.")
    if largest < 2:
        return Finding("warn", "job arrays are switched off (MaxArraySize)", "submit jobs one by one, not with `map`.")
    return Finding("ok", f"an array has at most {largest} elements; larger ones are sent in parts")


def _limits(answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding("warn", f"Slurm does not tell its limits: {answer.words[:200]}", "set max_jobs of the target.")
    left = room.read_usage(answer).jobs
    if left is None:
        return Finding("ok", "no limit on the number of your jobs is told")
    return Finding("ok", f"{left} more jobs may be submitted now; further ones wait in the ledger until there is room")


def _partition(demand: Demand, answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding("warn", f"the partitions cannot be listed: {answer.words}", _UNREACHED)
    rows = _rows(answer)
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
    limit, state, *_, sizes = partitions[name]
    kinds = [Nodes.read(*cells[3:7]) for cells in rows if cells[0].rstrip("*") == name]
    number = sum(kind.number for kind in kinds)
    limit_s = parse_limit(limit)
    if asked := demand.longer_than(limit_s):
        return Finding(
            "fail",
            f"partition {name} allows {limit}, but {asked}",
            "shorten the walltime, or send these profiles to another partition.",
        )
    too_large = {who: why for who, spec in demand.specs.items() if (why := _too_large(spec, kinds, sizes))}
    if too_large:
        asked = ", ".join(f"profile {who!r} asks for {why}" for who, why in too_large.items())
        return Finding(
            "fail",
            f"partition {name} can never run this: {asked}",
            f"make these profiles smaller, or send them to another partition; `sinfo -e -p {name} -o '%D %c %m %G'`.",
        )
    if state != "up":
        why = _REASONS.get(state, "jobs may not start")
        return Finding("warn", f"partition {name} is {state}: {why}", f"wait, or ask your site; `sinfo -p {name}`.")
    kind = "" if demand.queue else ", the default"
    return Finding("ok", f"{name}{kind}: {number} node{'' if number == 1 else 's'}, time limit {limit}")


@dataclass(frozen=True)
class Nodes:
    """Nodes of a partition that are alike. What Slurm does not tell is without limit."""

    number: int
    cores: float = inf
    memory_mib: float = inf
    gpus: int = 0

    @staticmethod
    def read(number: str, cores: str, memory: str, resources: str) -> Nodes:
        gpus = re.findall(r"(?:^|,)gpu(?::[^:,(]+)?:(\d+)", resources)
        return Nodes(int(number) if number.isdigit() else 0, _number(cores), _number(memory), sum(map(int, gpus)))


def _number(text: str) -> float:
    return int(text) if text.isascii() and text.isdigit() else inf


def _finite(number: float) -> int | None:
    return None if number == inf else int(number)


def _most_nodes(sizes: str) -> int | None:
    """`1-4`: what a job may have. None where there is no limit."""
    most = re.fullmatch(r"(?:\d+-)?(\d+)", sizes)
    return int(most[1]) if most else None


def _too_large(spec: JobSpec, kinds: Sequence[Nodes], sizes: str) -> str:
    """What no set of nodes of the partition can ever give this job; empty where it may run."""
    most = _most_nodes(sizes)
    if most and spec.nodes > most:
        return f"{spec.nodes} nodes, where a job may have {most}"
    if spec.nodes > sum(kind.number for kind in kinds):
        return f"{spec.nodes} nodes of {sum(kind.number for kind in kinds)}"
    cores, memory_mib = spec.cores_per_node, spec.memory_per_node_mib or 0
    fitting = [kind for kind in kinds if kind.cores >= cores and kind.memory_mib >= memory_mib]
    if spec.nodes > sum(kind.number for kind in fitting):
        return f"{cores} cores and {memory_mib} MiB on each of {spec.nodes} nodes"
    if spec.nodes > sum(kind.number for kind in fitting if kind.gpus >= spec.gpus_per_node):
        return f"{spec.gpus_per_node} GPUs on each of {spec.nodes} nodes"
    return ""


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
