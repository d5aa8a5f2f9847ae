"""The first file of a site, written from what its machine tells: it works as it is, and says what to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dagster_hpc.checks.base import Queue
from dagster_hpc.engine.units import format_walltime
from dagster_hpc.site.lines import Path
from dagster_hpc.site.machine import Machine
from dagster_hpc.site.toml_text import Comments, toml_text

TARGET = "cluster"
_HOUR_S = 3600
_DIALECTS = {
    "pbs": 'kind = "miyabi"  # on Miyabi; "gadi" on Gadi',
    "pjm": 'kind = "fugaku"  # on Fugaku',
}
_SHOWN = 12  # modules: a longer list is for the reader to ask for
_HEAD = """\
The site of dagster-hpc: where jobs run, and how. `dagster-hpc site new` wrote it on {machine}.
`dagster-hpc site check` looks over it and asks the scheduler; `dagster-hpc site show` prints what is in force."""


def first_file(machine: Machine, work_root: str) -> str:
    """The text of the file."""
    name = "here" if machine.kind == "local" else TARGET
    target = _target(machine)
    values = {
        "default_target": name,
        "default_profile": "small",
        "work_root": work_root,
        "targets": {name: target},
        "profiles": _profiles(machine, _cpu_queue(machine.survey.queues)),
    }
    return toml_text(values, _comments(machine, name, target))


def _target(machine: Machine) -> dict[str, Any]:
    queues, project = machine.survey.queues, next(iter(machine.survey.projects), "")
    cpu, gpu = _cpu_queue(queues), _gpu_queue(queues)
    said = {
        "kind": machine.kind,
        "description": _description(machine),
        "queue_cpu": cpu.name if cpu else "",
        "queue_gpu": gpu.name if gpu else "",
        "project_cpu": project,
        "project_gpu": project if gpu else "",
        **machine.survey.fields,
        "limits": {queue.name: limits for queue in queues if (limits := limits_in_words(queue))},
    }
    return {key: value for key, value in said.items() if value}


def limits_in_words(queue: Queue) -> dict[str, Any]:
    """What the scheduler tells of a queue, as the fields of `limits`."""
    said = {
        "max_nodes": queue.nodes,
        "max_cores_per_node": queue.cores_per_node,
        "max_memory_per_node": f"{queue.memory_per_node_mib}M" if queue.memory_per_node_mib else None,
        "max_gpus_per_node": queue.gpus_per_node,
        "max_walltime": format_walltime(queue.walltime_s) if queue.walltime_s is not None else None,
    }
    return {key: value for key, value in said.items() if value is not None}


def _description(machine: Machine) -> str:
    return f"This machine, {machine.name}." if machine.kind == "local" else f"The cluster behind {machine.name}."


def _cpu_queue(queues: Sequence[Queue]) -> Queue | None:
    """The default; else the first that is open, and rather one without GPUs."""
    opened = [queue for queue in queues if not queue.closed]
    plain = [queue for queue in opened if not queue.gpus_per_node]
    default = [queue for queue in opened if queue.is_default]
    return next(iter([*default, *plain, *opened]), None)


def _gpu_queue(queues: Sequence[Queue]) -> Queue | None:
    return next((queue for queue in queues if queue.gpus_per_node and not queue.closed), None)


def _profiles(machine: Machine, queue: Queue | None) -> dict[str, Any]:
    """Some to begin with, such as fit into the queue."""
    most_s, cores = (queue and queue.walltime_s) or _HOUR_S, (queue and queue.cores_per_node) or 2
    brief, work = (format_walltime(min(most_s, wanted_s)) for wanted_s in (_HOUR_S // 12, _HOUR_S))
    profiles: dict[str, Any] = {"small": {"description": "One core for some minutes: for a try.", "walltime": brief}}
    if machine.kind == "sge" and "parallel_environment" not in machine.survey.fields:
        return profiles  # there a job has one core
    threads = {"description": "One program with several threads.", "ompthreads": min(4, cores), "walltime": work}
    ranks = {"description": "MPI ranks on one node.", "mpiprocs": 2, "launcher": machine.launcher, "walltime": work}
    return {**profiles, "threads": threads, **({"mpi": ranks} if cores > 1 else {})}


def _comments(machine: Machine, name: str, target: Mapping[str, Any]) -> Comments:
    here: Path = ("targets", name)
    queues = ", ".join(f"{queue.name}{f' ({queue.closed})' if queue.closed else ''}" for queue in machine.survey.queues)
    projects = ", ".join(machine.survey.projects)
    above: dict[Path, str] = {
        ("default_target",): _HEAD.format(machine=machine.name),
        ("work_root",): "The folder of the jobs' directories. The compute nodes have to see it.",
        ("profiles", "small"): "How programs run well. The launchpad offers these by name, with their descriptions.",
    }
    for queue in list(target.get("limits", {}))[:1]:
        limits: Path = (*here, "limits", queue)
        above[limits] = "The most that a job may ask for, by queue, as the scheduler told it. Lower it as you like."
    beside: dict[Path, str] = {
        (*here, "queue_cpu"): f"there are: {queues}",
        (*here, "project_cpu"): f"you may charge: {projects}" if len(machine.survey.projects) > 1 else "",
    }
    below = {here: "\n".join(_hints(machine, target))}
    if machine.mpi_modules:
        first, *others = machine.mpi_modules[:_SHOWN]
        more = f"  # or {', '.join(others)}" if others else ""
        below[("profiles", "mpi")] = f'modules = ["{first}"]{more}'
    return Comments(above, beside, below)


def _hints(machine: Machine, target: Mapping[str, Any]) -> list[str]:
    """What nobody but the reader can fill in."""
    hints = [_DIALECTS[machine.kind]] if machine.kind in _DIALECTS else []
    hints += [f'{key} = ""' for key in ("queue_cpu", "project_cpu") if key not in target and machine.kind != "local"]
    return [*hints, 'executable_map = { bitcount = "/apps/bitcount" }  # programs, by the names that assets use']
