"""How the ranks of a job are started. A small axis of its own: any launcher, on any scheduler that has it.

Two tables say all of it, and docs/profiles.md shows them: what a launcher is told, and what a system tells an MPI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dagster_hpc.engine.job import JobSpec


@dataclass(frozen=True)
class Launcher:
    """A program that starts ranks. A number is said once: by us, or in `mpi_options` in one of these spellings."""

    program: tuple[str, ...]
    says: Mapping[str, tuple[str, ...]]  # a number of the request → the words in which it is said
    spellings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # all options that say this number


_MPIRUN = {
    "ranks": ("-n", "-np", "--n", "--np"),
    "ranks_per_node": ("-ppn", "--ppn", "-perhost", "--perhost", "-npernode", "--npernode", "-N"),
}
LAUNCHERS: Mapping[str, Launcher] = {
    "srun": Launcher(
        ("srun",),
        {"ranks": ("--ntasks={}",), "ranks_per_node": ("--ntasks-per-node={}",)},
        {
            "ranks": ("-n", "--ntasks"),
            "ranks_per_node": ("--ntasks-per-node",),
            "nodes": ("-N", "--nodes"),
            "threads_per_rank": ("-c", "--cpus-per-task"),
        },
    ),
    "mpirun": Launcher(("mpirun",), {"ranks": ("-n", "{}")}, _MPIRUN),
    "mpiexec": Launcher(("mpiexec",), {"ranks": ("-n", "{}")}, _MPIRUN),
    "mpiexec.hydra": Launcher(("mpiexec.hydra",), {"ranks": ("-n", "{}"), "ranks_per_node": ("-ppn", "{}")}, _MPIRUN),
    "flux": Launcher(
        ("flux", "run"),
        {"nodes": ("--nodes={}",), "ranks": ("--ntasks={}",), "threads_per_rank": ("--cores-per-task={}",)},
        {
            "ranks": ("-n", "--ntasks"),
            "nodes": ("-N", "--nodes"),
            "threads_per_rank": ("-c", "--cores-per-task"),
        },
    ),
}


@dataclass(frozen=True)
class Hosts:
    """What a system tells an MPI of the job's nodes. MPICH and Intel MPI read it by themselves."""

    component: str  # of Open MPI, if it was built with it: it then asks the system itself
    file: str = ""  # else the variable that names the list of the nodes
    slots_are_cores: bool = False  # with several threads a rank, a node then seems to have room for more ranks


HOSTS: Mapping[str, Hosts] = {
    "slurm": Hosts("slurm"),
    "pbs": Hosts("tm", "PBS_NODEFILE"),
    "torque": Hosts("tm", "PBS_NODEFILE", slots_are_cores=True),
    "sge": Hosts("gridengine", "PE_HOSTFILE", slots_are_cores=True),
    "lsf": Hosts("lsf", "LSB_DJOB_HOSTFILE"),
}
# Settings of Open MPI 4 and of Open MPI 5. An option of mpirun goes before them, and what the user has set stays.
HOST_FILE = ("OMPI_MCA_orte_default_hostfile", "PRTE_MCA_prte_default_hostfile")
MAPPING = ("OMPI_MCA_rmaps_base_mapping_policy", "PRTE_MCA_rmaps_default_mapping_policy")
BINDING = ("OMPI_MCA_hwloc_base_binding_policy", "PRTE_MCA_hwloc_default_binding_policy")
_PLACES = re.compile(
    r"--?(map-by|by\w+|n?pernode|npersocket|N|ppr|ppn|perhost|rankfile|rf|cpus-per-\w+)(=.*)?", re.ASCII
)
_BINDS = re.compile(r"--?(bind-to\S*|map-by|cpus-per-\w+|cpu-(set|list)|rankfile|rf)(=.*)?", re.ASCII)


def launch_prefix(spec: JobSpec) -> list[str]:
    """The words before the program: `srun --ntasks=16 …`; empty where the program is started as it is."""
    prefix: list[str] = []
    if launcher := LAUNCHERS.get(spec.launcher):
        said = {count for count, _, _ in _stated(spec)}
        numbers = {count: getattr(spec, count) for count in launcher.says if count not in said}
        prefix += launcher.program
        prefix += [word.format(n) for count, n in numbers.items() if n for word in launcher.says[count]]
        prefix += spec.launcher_options
    if spec.container:
        prefix += ["apptainer", "exec", *(["--nv"] if spec.gpus_per_node else []), spec.container]
    return prefix


def launcher_faults(spec: JobSpec) -> list[str]:
    """What does not fit between the launcher and the rest of the request."""
    faults = []
    if spec.launcher == "single" and spec.ranks > 1:
        faults.append(
            f"launcher 'single' starts one process, but {spec.ranks} ranks are asked for "
            f"(num_nodes={spec.nodes} * mpiprocs={spec.ranks_per_node}): choose srun, mpirun or mpiexec"
        )
    if spec.launcher == "single" and spec.launcher_options:
        faults.append("mpi_options are given, but launcher 'single' starts no MPI")
    for count, option, value in _stated(spec):
        asked, said = getattr(spec, count), f"{option} {value}".strip()
        if asked not in (None, int(value) if value.isascii() and value.isdigit() else value):
            faults.append(
                f"mpi_options say {said}, but the profile says {asked} (num_nodes={spec.nodes}, "
                f"mpiprocs={spec.ranks_per_node}, ompthreads={spec.threads_per_rank}): leave the number to the profile"
            )
    return faults


def launcher_setup(spec: JobSpec, system: str) -> list[str]:
    """The lines of bash without which mpirun would use one node of several, or one core for several threads."""
    if spec.launcher not in ("mpirun", "mpiexec", "mpiexec.hydra"):
        return []
    hosts, threads = HOSTS.get(system, Hosts("")), (spec.threads_per_rank or 1) > 1
    places, binds = (any(map(kind.fullmatch, spec.launcher_options)) for kind in (_PLACES, _BINDS))
    lines = []
    if spec.nodes > 1 and hosts.file and spec.launcher != "mpiexec.hydra":
        lines += [f'if [ -r "${hosts.file}" ]; then', *_host_file(hosts.file), "fi"]
    if spec.nodes > 1 and hosts.slots_are_cores and threads and not places:
        lines += _defaults(MAPPING, f"ppr:{spec.ranks_per_node}:node")
        lines += _defaults(["I_MPI_JOB_RESPECT_PROCESS_PLACEMENT"], "off")
        lines += _defaults(["I_MPI_PERHOST"], str(spec.ranks_per_node))
    if spec.ranks <= 2 and threads and not binds:  # which Open MPI ties to one core each
        lines += _defaults(BINDING, "none")
    return lines


def _host_file(variable: str) -> list[str]:
    if variable != "PE_HOSTFILE":
        return _defaults(HOST_FILE, f"${variable}", "  ")
    convert = 'while read -r hpc_host hpc_slots _; do echo "$hpc_host slots=$hpc_slots"; done'
    return [f'  {convert} <"$PE_HOSTFILE" >"$hpc_here/.job/hosts"', *_defaults(HOST_FILE, "$hpc_here/.job/hosts", "  ")]


def _defaults(names: Sequence[str], value: str, indent: str = "") -> list[str]:
    return [f'{indent}export {name}="${{{name}:-{value}}}"' for name in names]


def _stated(spec: JobSpec) -> list[tuple[str, str, str]]:
    """(number of the request, option, value) of each number that `mpi_options` say themselves."""
    launcher, options = LAUNCHERS.get(spec.launcher), spec.launcher_options
    if launcher is None:
        return []
    stated = []
    for word, following in zip(options, [*options[1:], ""], strict=False):
        for count, spellings in launcher.spellings.items():
            for option in spellings:
                glued = word.removeprefix(option)
                if word == option:
                    stated.append((count, option, following))
                elif word.startswith(f"{option}="):
                    stated.append((count, option, glued[1:]))
                elif word.startswith(option) and len(option) == 2 and glued.isascii() and glued.isdigit():
                    stated.append((count, option, glued))
    return stated
