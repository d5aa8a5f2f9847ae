"""What `dagster-hpc doctor` asks of PBS. Each function turns one answer into one finding."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial

from dagster_hpc.checks.base import Ask, Demand, Finding, Probe, Queue, Survey
from dagster_hpc.checks.mpi import mpi_probes
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.engine.schedulers.pbs.limits import sections
from dagster_hpc.engine.schedulers.pbs.records import integer, seconds
from dagster_hpc.engine.schedulers.pbs.replies import from_json, refused_option
from dagster_hpc.engine.schedulers.pbs.requests import PBS
from dagster_hpc.engine.schedulers.pbs.words import NO_HISTORY, unreached

_UNREACHED = "check PBS_CONF_FILE or /etc/pbs.conf, and with your site whether the server runs."
_LIMITS = "set max_jobs of the target; a job for which there is no room waits in any case."
_NO_JOB = "999999999"  # an id that no server has reached


def probes(pbs: PBS, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    queues, in_json = Call(("qstat", "-Q", "-f")), Call(("qstat", "-x", "-f", "-F", "json", _NO_JOB))
    return [
        Probe("qsub", Call(("qsub", "--version")), version),
        Probe("qdel", Call(("qdel", "--version")), version),
        Probe("qstat", Call(("qstat", "-u", user)), _server),
        Probe("job history", in_json, _history, "warn"),
        Probe("dialect", in_json, _dialect, "warn"),
        Probe("qselect", Call(("qselect", "-u", user)), _look_up, "warn"),
        Probe("arrays", Call(("qstat", "-B", "-f")), partial(_arrays, pbs), "warn"),
        *(Probe("queue", queues, partial(_queue, demand), "warn") for demand in demands),
        *(
            Probe("nodes", Call(("pbsnodes", "-a", "-F", "json")), partial(_nodes, demand), "warn")
            for demand in demands
            if demand.specs
        ),
        *mpi_probes("pbs", demands),
    ]


def survey(pbs: PBS, user: str, ask: Ask) -> Survey | None:
    """The queues, if this is a PBS: Torque has commands of the same names."""
    said = ask(Call(("qsub", "--version")))
    return survey_of_queues(ask) if said is not None and version(said).level == "ok" else None


def survey_of_queues(ask: Ask) -> Survey | None:
    """The queues; which of them is the default the server tells. Torque's answers have the same form."""
    queues, server = ask(Call(("qstat", "-Q", "-f"))), ask(Call(("qstat", "-B", "-f")))
    if queues is None or not sections(queues):
        return None
    default = next(iter(sections(server).values()), {}).get("default_queue", "") if server else ""
    return Survey([_queue_of(name, said, name == default) for name, said in sections(queues).items()])


def _queue_of(name: str, said: Mapping[str, str], is_default: bool) -> Queue:
    limit_s = seconds(said.get("resources_max.walltime", ""))
    closed = [f"{word} is False" for word in ("enabled", "started") if said.get(word) == "False"]
    return Queue(
        name,
        is_default=is_default,
        nodes=integer(said.get("resources_max.nodect", "")),
        walltime_s=None if limit_s is None else int(limit_s),
        closed=", ".join(closed),
    )


def version(answer: Answer) -> Finding:
    """Whether this is a program of PBS."""
    program, said = answer.argv[0], answer.stdout.strip() or answer.stderr.strip()
    if said.startswith("Version:"):
        return Finding("fail", f"`{program}` is Torque's ({said}), not PBS's", "use TorqueTarget.")
    if answer.code != 0 or "pbs_version" not in said:
        return Finding("fail", f"`{program} --version` does not work: {answer.words}", _UNREACHED)
    return Finding("ok", said)


def _server(answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding("fail", f"the server does not answer: {answer.words}", _UNREACHED)
    number = sum(line[:1].isdigit() for line in answer.stdout.splitlines())
    return Finding("ok", f"the server answers; {number} of your jobs are in the queue")


def _history(answer: Answer) -> Finding:
    """A question for a job that cannot be there: what is said instead of it tells whether there is a history."""
    clock = _clock(answer.stdout)
    if NO_HISTORY in answer.stderr:
        return Finding(
            "warn",
            "the server keeps no history of jobs: how a job ended is told by its own files alone, which cannot tell why "
            "it was killed",
            "ask your site for job_history_enable; without it, jobs run all the same.",
            clock,
        )
    if answer.code == 153 and clock is not None:
        return Finding("ok", "the server keeps a history of jobs", clock=clock)
    if unreached(answer.code, answer.stderr):
        return Finding("warn", f"the history cannot be asked: {answer.words}", _UNREACHED)
    said = f"this qstat is not asked by `-x -F json`: {answer.words.splitlines()[0]}"
    return Finding("warn", said, "nothing: the engine finds out how it wants to be asked.", clock)


def _dialect(answer: Answer) -> Finding:
    """How jobs will be asked for. Clients built from OpenPBS's main since December 2023 write a tab behind each colon."""
    if refused_option(answer) is not None or from_json(answer.stdout) is None or not answer.stdout.strip():
        return Finding("ok", "qstat gives no JSON: jobs are asked for in text, or one by one")
    if '":\t' in answer.stdout:
        said = "this qstat is built from OpenPBS's main, which shows in JSON the first of several jobs only"
        return Finding("ok", f"{said} (openpbs issue 2672): it is asked for text")
    return Finding("ok", "jobs are asked for in JSON")


def _arrays(pbs: PBS, answer: Answer) -> Finding:
    server = next(iter(sections(answer).values()), None)
    if server is None:
        return Finding("warn", f"the server's limits cannot be asked: {answer.words.splitlines()[0]}", _LIMITS)
    sizes = [size for size in (integer(server.get("max_array_size", "")), pbs.most_elements) if size]
    arrays = f"arrays of up to {min(sizes)} elements" if sizes else "arrays of any size"
    return Finding("ok", f"{arrays}; jobs in all: {server.get('max_queued', 'no limit')}")


def _nodes(demand: Demand, answer: Answer) -> Finding:
    """What no node has, PBS takes all the same: such a job waits for ever. A GPU that it does not know it refuses."""
    nodes = _resources(answer.stdout) if answer.code == 0 else []
    if not nodes:
        return Finding("warn", f"the nodes cannot be listed: {answer.words.splitlines()[0][:200]}", "ask your site.")
    most = {name: max(integer(str(node.get(name, ""))) or 0 for node in nodes) for name in ("ncpus", "ngpus")}
    faults = [
        fault
        for who, spec in demand.specs.items()
        for fault in (
            _beyond(who, spec.cores_per_node, most["ncpus"], "cores a node"),
            _beyond(who, spec.gpus_per_node, most["ngpus"], "GPUs a node"),
            _beyond(who, spec.nodes, len(nodes), "nodes"),
        )
        if fault
    ]
    if faults:
        advice = "make these profiles smaller; PBS may take such a job, and it then waits for ever (Can Never Run)."
        return Finding("fail", "; ".join(faults), advice)
    gpus = f", {most['ngpus']} GPUs" if most["ngpus"] else ", no GPUs that PBS knows (ngpus)"
    return Finding("ok", f"the largest of {len(nodes)} nodes has {most['ncpus']} cores{gpus}")


def _beyond(who: str, number: int, most: int, what: str) -> str:
    return f"profile {who!r} asks for {number} {what}, of {most}" if number > most else ""


def _resources(text: str) -> list[dict[str, object]]:
    """`resources_available` of each node."""
    try:
        nodes = json.loads(text, strict=False)["nodes"].values()
        found = [node["resources_available"] for node in nodes if "resources_available" in node]
        return [one for one in found if isinstance(one, dict)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _clock(text: str) -> float | None:
    """The server's time of day stands at the head of every JSON answer."""
    try:
        stamp = json.loads(text)["timestamp"]
        return float(stamp) if isinstance(stamp, int) and 0 < stamp < 2**40 else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _look_up(answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding("warn", f"jobs cannot be looked up by name: {answer.words}", _UNREACHED)
    return Finding("ok", "jobs can be looked up by name")


def _queue(demand: Demand, answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding("warn", f"the queues cannot be listed: {answer.words}", _UNREACHED)
    queues = sections(answer)
    if not demand.queue:
        return Finding("ok", f"the server's default; there are {', '.join(sorted(queues)) or 'no queues that you see'}")
    if demand.queue not in queues:
        hint = did_you_mean(demand.queue, list(queues))
        advice = "correct queue_cpu / queue_gpu of the target."
        return Finding("fail", f"there is no queue {demand.queue!r}: {hint}", advice)
    queue = queues[demand.queue]
    limit_s = seconds(queue.get("resources_max.walltime", ""))
    if asked := demand.longer_than(limit_s):
        return Finding(
            "fail",
            f"queue {demand.queue} allows {queue['resources_max.walltime']}, but {asked}",
            "shorten the walltime, or send these profiles to another queue.",
        )
    closed = [word for word in ("enabled", "started") if queue.get(word) == "False"]
    if closed:
        what = "takes no jobs" if "enabled" in closed else "takes jobs but starts none"
        return Finding("warn", f"queue {demand.queue} {what}", f"wait, or ask your site; `qstat -Qf {demand.queue}`.")
    limit = queue.get("resources_max.walltime", "none")
    waiting = integer(queue.get("total_jobs", "")) or 0
    most = f", limits {queue['max_queued']}" if "max_queued" in queue else ""
    return Finding("ok", f"{demand.queue}: {waiting} jobs in it, time limit {limit}{most}")
