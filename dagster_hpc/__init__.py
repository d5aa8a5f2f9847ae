"""HPC batch jobs as Dagster assets.

The names below are imported when they are first used: the engine and the command line never pay for Dagster.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dagster_hpc.version import __version__

if TYPE_CHECKING:
    from dagster_hpc.assets import HPCJobConfig, hpc_asset
    from dagster_hpc.engine.errors import ConfigurationError, HPCError, LedgerError, SchedulerUnavailable, SubmitRefused
    from dagster_hpc.engine.job import (
        Dependency,
        JobCancelled,
        JobFailed,
        JobHandle,
        JobLost,
        JobMetrics,
        JobOutOfMemory,
        JobResult,
        JobState,
        JobTimedOut,
        NodeFailed,
        OutputMissing,
        WaitTimeout,
    )
    from dagster_hpc.metadata import array_metadata, job_metadata
    from dagster_hpc.resources.command import Command
    from dagster_hpc.resources.job_runner import HPCJobRunner
    from dagster_hpc.resources.profile import ExecutionProfile
    from dagster_hpc.resources.targets.base import HPCTarget, SubmissionRoute
    from dagster_hpc.resources.targets.flux import FluxTarget
    from dagster_hpc.resources.targets.local import LocalTarget
    from dagster_hpc.resources.targets.lsf import LSFTarget
    from dagster_hpc.resources.targets.pbs import MiyabiTarget, PBSTarget
    from dagster_hpc.resources.targets.pjm import FugakuTarget, PJMTarget
    from dagster_hpc.resources.targets.sge import SGETarget
    from dagster_hpc.resources.targets.slurm import SlurmTarget
    from dagster_hpc.resources.targets.torque import TorqueTarget

_HOME = {
    "assets": ("HPCJobConfig", "hpc_asset"),
    "engine.errors": (
        "ConfigurationError", "HPCError", "LedgerError", "SchedulerUnavailable", "SubmitRefused",
    ),
    "engine.job": (
        "Dependency", "JobCancelled", "JobFailed", "JobHandle", "JobLost", "JobMetrics", "JobOutOfMemory", "JobResult",
        "JobState", "JobTimedOut", "NodeFailed", "OutputMissing", "WaitTimeout",
    ),
    "metadata": ("array_metadata", "job_metadata"),
    "resources.command": ("Command",),
    "resources.job_runner": ("HPCJobRunner",),
    "resources.profile": ("ExecutionProfile",),
    "resources.targets.base": ("HPCTarget", "SubmissionRoute"),
    "resources.targets.flux": ("FluxTarget",),
    "resources.targets.local": ("LocalTarget",),
    "resources.targets.lsf": ("LSFTarget",),
    "resources.targets.pbs": ("MiyabiTarget", "PBSTarget"),
    "resources.targets.pjm": ("FugakuTarget", "PJMTarget"),
    "resources.targets.sge": ("SGETarget",),
    "resources.targets.slurm": ("SlurmTarget",),
    "resources.targets.torque": ("TorqueTarget",),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Command",
    "ConfigurationError",
    "Dependency",
    "ExecutionProfile",
    "FluxTarget",
    "FugakuTarget",
    "HPCError",
    "HPCJobConfig",
    "HPCJobRunner",
    "HPCTarget",
    "JobCancelled",
    "JobFailed",
    "JobHandle",
    "JobLost",
    "JobMetrics",
    "JobOutOfMemory",
    "JobResult",
    "JobState",
    "JobTimedOut",
    "LSFTarget",
    "LedgerError",
    "LocalTarget",
    "MiyabiTarget",
    "NodeFailed",
    "OutputMissing",
    "PBSTarget",
    "PJMTarget",
    "SGETarget",
    "SchedulerUnavailable",
    "SlurmTarget",
    "SubmissionRoute",
    "SubmitRefused",
    "TorqueTarget",
    "WaitTimeout",
    "__version__",
    "array_metadata",
    "hpc_asset",
    "job_metadata",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'dagster_hpc' has no attribute {name!r}")
    module = _MODULE_OF[name]
    if not module.startswith("engine."):
        _register()
    value = getattr(import_module(f"dagster_hpc.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


def _register() -> None:
    """Let Dagster list this library among those that are in use."""
    from dagster_shared.libraries import DagsterLibraryRegistry

    DagsterLibraryRegistry.register("dagster-hpc", __version__, is_dagster_package=False)
