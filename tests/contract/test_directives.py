"""What is asked for stands in the script, or the system says that it cannot have it: nothing is dropped in silence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dagster_hpc import (
    Allocation,
    Command,
    ConfigurationError,
    Dependency,
    ExecutionProfile,
    FluxTarget,
    FugakuTarget,
    GadiTarget,
    HPCJobRunner,
    HPCTarget,
    LSFTarget,
    MiyabiTarget,
    PBSTarget,
    PJMTarget,
    SGETarget,
    SlurmTarget,
    TorqueTarget,
)
from dagster_hpc.engine.schedulers import KINDS
from dagster_hpc.engine.script import render_script
from dagster_hpc.resources.resolve import resolve

CHARGED = {"queue_cpu": "regular", "queue_gpu": "regular-g", "project_cpu": "gz00", "project_gpu": "gz00"}
FUGAKU = {
    "gfscache": "/vol0004",
    "pjm_resources": ["freq=2200", "eco_state=2"],
    "mpi_options_for_pjm": ["rank-map-bychip", "assign-online-node"],
    "llio": ["localtmp-size=10Gi"],
    "spack_modules": ["fujitsu-mpi"],
}
SGE = {
    "parallel_environment": "smp",
    "multi_node_environment": "mpi-{cores}",
    "gpu_resource": "gpu",
    "exclusive_resource": "exclusive",
}
TARGETS: dict[str, HPCTarget] = {
    "slurm": SlurmTarget(**CHARGED, qpu="ibm"),
    "pbs": PBSTarget(**CHARGED),
    "miyabi": MiyabiTarget(**CHARGED),
    "gadi": GadiTarget(**CHARGED, storage="gdata/gz00"),
    "torque": TorqueTarget(**CHARGED),
    "torque-slurm": TorqueTarget(**CHARGED, over_slurm=True),
    "pjm": PJMTarget(**CHARGED),
    "pjm-without-bulk": PJMTarget(**CHARGED, bulk_jobs=False),
    "fugaku": FugakuTarget(**CHARGED, **FUGAKU),  # type: ignore[arg-type]
    "lsf": LSFTarget(**CHARGED),
    "sge": SGETarget(**CHARGED, **SGE),
    "flux": FluxTarget(**CHARGED),
    "steps": Allocation(
        inside=SlurmTarget(**CHARGED), folder="/scratch/steps",
        profile=ExecutionProfile(num_nodes=2, mpiprocs=8, gpus_per_node=4, memory_per_node="8G", walltime="12:00:00"),
    ),
}  # fmt: skip

# Each wish alone, on top of a plain profile: fields of the profile, and what the script must then show of it somewhere.
WISHES: dict[str, tuple[dict[str, Any], str]] = {
    "nodes": ({"num_nodes": 2, "mpiprocs": 4, "launcher": "mpiexec"}, r"\b(2|8)\b"),
    "ranks": ({"mpiprocs": 5, "launcher": "mpiexec"}, r"\b5\b"),
    "threads": ({"ompthreads": 7}, r"OMP_NUM_THREADS=7\b"),
    "cores": ({"ompthreads": 7}, r"^#.*\b7\b"),
    # A step asks its launcher for its part of the allocation, not a scheduler in a directive.
    "gpus": ({"gpus_per_node": 3}, r"^(#|srun ).*\b3\b"),
    "memory": ({"memory_per_node": "4321M"}, r"^(#|srun ).*(4321|4531)"),
    "walltime": ({"walltime": "03:00:00"}, r"^#.*(0?3:00(:00)?|\b180m?\b|\b10800s?\b)"),
    "exclusive": ({"exclusive": True}, r"^#.*(excl|-x\b)"),
    "qos": ({"qos": "urgent"}, r"^#.*urgent"),
    "reservation": ({"reservation": "R123"}, r"^#.*R123"),
    "signal": ({"signal_before_end": "USR1@120"}, r"^#.*(USR1|s_rt=00:03:00)"),
    "mail": ({"mail_to": "me@example.org"}, r"^#.*me@example\.org"),
    "directives": ({"directives": ["#ANY own=1"]}, r"^#ANY own=1$"),
    "modules": ({"modules": ["gcc/12"]}, r"^module load gcc/12$"),
    "pre_commands": ({"pre_commands": ["ulimit -s unlimited"]}, r"^eval .ulimit -s unlimited.$"),
    "environment": ({"environments": {"MY_VAR": "my value"}}, r"^export MY_VAR='my value'$"),
    "mpi_options": ({"mpiprocs": 2, "launcher": "mpiexec", "mpi_options": ["--bind-to", "core"]}, r"--bind-to core"),
    "container": ({"container": "/images/a.sif"}, r"apptainer exec /images/a.sif"),
}
GIVEN_ANYWAY = {"pjm": {"cores", "exclusive"}}  # every job there has whole nodes
TWELVE = "12"  # the id of another job
# What the predecessor's adapters wrote for one request, as patterns for whole lines. `-j oe` says the same as `-e`.
REQUEST = ExecutionProfile(
    num_nodes=2,
    mpiprocs=4,
    ompthreads=3,
    walltime="01:02:03",
    launcher="mpiexec",
    modules=["gcc"],
    pre_commands=["env"],
)
PREDECESSOR: dict[str, list[str]] = {
    "miyabi": [
        "#PBS -q regular",
        "#PBS -l select=2:.*mpiprocs=4:ompthreads=3.*",
        "#PBS -l walltime=01:02:03",
        "#PBS -W group_list=gz00",
        "#PBS -o /.*",
        "#PBS (-e /.*|-j oe)",
        "module load gcc",
        "eval env",
    ],
    "fugaku": [
        '#PJM -L "rscgrp=regular"',
        '#PJM -L "elapse=01:02:03"',
        '#PJM -L "node=2"',
        '#PJM -L "freq=2200"',
        '#PJM -L "eco_state=2"',
        "#PJM -g .?gz00.?",
        '#PJM --mpi "rank-map-bychip"',
        '#PJM --mpi "assign-online-node"',
        "#PJM -x .?PJM_LLIO_GFSCACHE=/vol0004.?",
        "#PJM -o .?/.*",
        "#PJM -e .?/.*",
        "#PJM -S",
        "#PJM --spath .?/.*",
        "#PJM --name .?name.*",
        "module load gcc",
        r"\. /vol0004/apps/oss/spack/share/spack/setup-env.sh",
        "spack load fujitsu-mpi",
    ],
    "slurm": [
        "#SBATCH --partition=regular",
        "#SBATCH --account=gz00",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --cpus-per-task=3",
        "#SBATCH --time=01:02:03",
        "#SBATCH --output=/.*",
        "#SBATCH --error=/.*",
        "#SBATCH --qpu=ibm",
        "module load gcc",
        "eval env",
    ],
}
DROPPED_BY_IT: dict[str, tuple[dict[str, Any], list[str]]] = {
    "miyabi": (
        {"memory_per_node": "4G", "gpus_per_node": 1},
        ["#PBS -N name_.*", "#PBS -l select=.*mem=4096mb.*"],  # the queue gives the GPU
    ),
    "fugaku": ({}, ["eval env", '#PJM --mpi "proc=8"', '#PJM --mpi "max-proc-per-node=4"', "export OMP_NUM_THREADS=3"]),
    "slurm": (
        {"memory_per_node": "4G", "gpus_per_node": 1},
        ["#SBATCH --job-name=name_.*", "#SBATCH --mem=4096M", "#SBATCH --gpus-per-node=1"],
    ),
}


def render(target: HPCTarget, profile: ExecutionProfile) -> str:
    hpc = HPCJobRunner(target=target, work_root="/home")
    return hpc.render(Command("/apps/program", name="name"), profile=profile)


def missing(script: str, patterns: list[str]) -> list[str]:
    lines = script.splitlines()
    return [pattern for pattern in patterns if not any(re.fullmatch(pattern, line) for line in lines)]


# ---------------------------------------------------------------------- the predecessor


@pytest.mark.parametrize("name", PREDECESSOR)
def test_every_directive_of_the_predecessor_is_there(name: str) -> None:
    script = render(TARGETS[name], REQUEST)
    assert missing(script, PREDECESSOR[name]) == [], script


@pytest.mark.parametrize("name", DROPPED_BY_IT)
def test_what_the_predecessor_dropped_is_there_too(name: str) -> None:
    fields, patterns = DROPPED_BY_IT[name]
    script = render(TARGETS[name], REQUEST.with_overrides(fields))
    assert missing(script, patterns) == [], script


@pytest.mark.parametrize("name", ["miyabi", "fugaku"])
def test_a_site_that_charges_every_job_wants_a_project(name: str) -> None:
    target = {"miyabi": MiyabiTarget, "fugaku": FugakuTarget}[name](queue_cpu="regular")
    with pytest.raises(ConfigurationError, match="set project_cpu"):
        render(target, REQUEST)


# ---------------------------------------------------------------------- every system


def test_every_system_is_tried() -> None:
    assert {target.scheduler.kind for target in TARGETS.values()} | {"local"} == set(KINDS)


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("name", TARGETS)
def test_a_wish_is_in_the_script_or_refused_in_a_sentence(name: str, wish: str) -> None:
    if wish in GIVEN_ANYWAY.get(TARGETS[name].scheduler.kind.partition("-")[0], ()):
        return
    fields, pattern = WISHES[wish]
    script, faults = tried(lambda: render(TARGETS[name], ExecutionProfile(**fields)))
    assert faults or re.search(pattern, script, re.MULTILINE), script
    assert script != render(TARGETS[name], ExecutionProfile())


@pytest.mark.parametrize("kind", ["afterok", "afterany", "afternotok"])
@pytest.mark.parametrize("name", TARGETS)
def test_a_dependency_is_in_the_script_or_refused_in_a_sentence(name: str, kind: str) -> None:
    dependency = Dependency(kind, TWELVE)  # type: ignore[arg-type]
    script, faults = tried(lambda: rendered(TARGETS[name], dependencies=[dependency]))
    assert faults or re.search(rf"^#.*\b{TWELVE}\b", script, re.MULTILINE), script


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("name", TARGETS)
def test_an_array_and_its_limit_are_in_the_script_or_refused_in_a_sentence(name: str, limit: int | None) -> None:
    script, faults = tried(lambda: rendered(TARGETS[name], elements=[["a"]] * 17, element_limit=limit))
    assert faults or re.search(r"^#.*\b1[67]\b", script, re.MULTILINE), script
    assert faults or not limit or re.search(r"^#.*\b3\b", script, re.MULTILINE), script


def tried(make: Callable[[], str]) -> tuple[str, list[str]]:
    """The script, or why there is none: in sentences."""
    try:
        return make(), []
    except ConfigurationError as error:
        faults = error.faults
    assert all(len(fault.split()) > 3 for fault in faults), faults
    return "", faults


@pytest.mark.parametrize("name", TARGETS)
def test_directives_are_lines_that_the_system_reads(name: str) -> None:
    """They stand before the first line that is no comment: none of these systems reads on after that."""
    lines = render(TARGETS[name], ExecutionProfile()).splitlines()
    marks = [
        number for number, line in enumerate(lines) if re.match(r"#(SBATCH|STEP|PBS|PJM|BSUB|\$|[Ff]lux:) ?|# flux:", line)
    ]
    assert marks
    assert all(line.startswith("#") or not line for line in lines[: max(marks)])


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("field", ["queue_cpu", "project_cpu"])
def test_no_value_becomes_a_second_directive(name: str, field: str) -> None:
    fields: Mapping[str, Any] = {key: getattr(TARGETS[name], key) for key in type(TARGETS[name]).model_fields}
    target = type(TARGETS[name])(**{**fields, field: "a\n#PBS -l walltime=1"})
    with pytest.raises(ConfigurationError, match="line break"):
        render(target, REQUEST)


def rendered(target: HPCTarget, **request: Any) -> str:
    spec = resolve(Command("/apps/program", name="name"), ExecutionProfile(), target, **request)
    return render_script(spec, target.scheduler, directory="/scratch/name/token", token="abcd2345")
