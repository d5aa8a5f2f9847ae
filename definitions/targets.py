"""WHERE and HOW: the one file of the demo that knows about clusters. Its assets run unchanged on all of them.

The environment chooses:

    DAGSTER_HPC_TARGET      local (default) or slurm
    DAGSTER_HPC_QUEUE       queue or partition; default: the scheduler's own
    DAGSTER_HPC_PROJECT     project or account to charge; default: yours
    DAGSTER_HPC_WORK_ROOT   folder of the jobs, on a file system that the compute nodes see; default: your state folder
    DAGSTER_HPC_INBOX       folder in which the sensor looks for new samples; default: `inbox` in the work root
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster_hpc import ExecutionProfile, HPCJobRunner
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.filesystem import state_folder
from dagster_hpc.resources.targets import target_class

VARIABLES = tuple(f"DAGSTER_HPC_{name}" for name in ("TARGET", "QUEUE", "PROJECT", "WORK_ROOT", "INBOX", "LEDGER"))
PROGRAMS = Path(__file__).resolve().parent / "programs"
PROFILES = {
    "small": ExecutionProfile(ompthreads=1, memory_per_node="256M", walltime="00:05:00"),
    "roomy": ExecutionProfile(ompthreads=2, memory_per_node="2G", walltime="01:00:00"),
}


def resources(environ: Mapping[str, str]) -> dict[str, Any]:
    """The job runner on the target that the environment names. The launchpad can change each field of the target."""
    kind = environ.get("DAGSTER_HPC_TARGET") or "local"
    try:
        chosen = target_class(kind)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"DAGSTER_HPC_TARGET: {error.message}", advice="leave it unset to run on this machine."
        ) from error
    target: Any = chosen.configure_at_launch(
        queue_cpu=environ.get("DAGSTER_HPC_QUEUE", ""),
        project_cpu=environ.get("DAGSTER_HPC_PROJECT", ""),
        executable_map={"bitcount": str(PROGRAMS / "bitcount")},
    )
    return {
        "hpc": HPCJobRunner(target=target, profiles=PROFILES, work_root=str(work_root(environ))),
        "hpc_target": target,  # at the top level too: that puts its fields on the launchpad
    }


def work_root(environ: Mapping[str, str]) -> Path:
    """Where the jobs have their directories."""
    return _folder(environ.get("DAGSTER_HPC_WORK_ROOT")) or state_folder() / "demo"


def inbox(environ: Mapping[str, str]) -> Path:
    """Where the sensor looks for new samples."""
    return _folder(environ.get("DAGSTER_HPC_INBOX")) or work_root(environ) / "inbox"


def _folder(text: str | None) -> Path | None:
    return Path(os.path.expandvars(text)).expanduser().absolute() if text else None
