"""HPC batch jobs as Dagster assets.

The names below are imported when they are first used: the engine and the command line never pay for Dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_hpc.lazy import lazy_names
from dagster_hpc.version import __version__

if TYPE_CHECKING:
    from dagster_hpc.assets import (
        AssetOptions,
        HPCAsset,
        HPCJobConfig,
        hpc_asset,
        hpc_asset_check,
        hpc_multi_asset,
        hpc_python_asset,
    )
    from dagster_hpc.collectors import Expect, from_all, from_csv, from_json, from_stdout, from_text
    from dagster_hpc.components import HPCJobComponent
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
    from dagster_hpc.executor import hpc_executor
    from dagster_hpc.metadata import array_metadata, job_metadata
    from dagster_hpc.notifications import Mail, Webhook, build_hpc_notification_sensor
    from dagster_hpc.pipes import PipesHPCClient
    from dagster_hpc.python_calls.outcome import CallFailed, ValueUnreadable
    from dagster_hpc.resources.call_future import CallFuture
    from dagster_hpc.resources.command import Command
    from dagster_hpc.resources.job_runner import HPCJobRunner
    from dagster_hpc.resources.limits import QueueLimits
    from dagster_hpc.resources.profile import ExecutionProfile
    from dagster_hpc.resources.retry import Resume, RetryRule
    from dagster_hpc.resources.service import hpc_service
    from dagster_hpc.resources.targets.allocation import Allocation
    from dagster_hpc.resources.targets.base import HPCTarget, SubmissionRoute
    from dagster_hpc.resources.targets.flux import FluxTarget
    from dagster_hpc.resources.targets.local import LocalTarget
    from dagster_hpc.resources.targets.lsf import LSFTarget
    from dagster_hpc.resources.targets.pbs import GadiTarget, MiyabiTarget, PBSTarget
    from dagster_hpc.resources.targets.pjm import FugakuTarget, PJMTarget
    from dagster_hpc.resources.targets.sge import SGETarget
    from dagster_hpc.resources.targets.slurm import SlurmTarget
    from dagster_hpc.resources.targets.torque import TorqueTarget
    from dagster_hpc.sensors import (
        EndedJob,
        build_hpc_job_sensor,
        build_job_ended_sensor,
        build_new_files_sensor,
        hpc_job_in_progress,
    )
    from dagster_hpc.site.catalogue import Site

__all__ = [
    "Allocation",
    "AssetOptions",
    "CallFailed",
    "CallFuture",
    "Command",
    "ConfigurationError",
    "Dependency",
    "EndedJob",
    "ExecutionProfile",
    "Expect",
    "FluxTarget",
    "FugakuTarget",
    "GadiTarget",
    "HPCAsset",
    "HPCError",
    "HPCJobComponent",
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
    "Mail",
    "MiyabiTarget",
    "NodeFailed",
    "OutputMissing",
    "PBSTarget",
    "PJMTarget",
    "PipesHPCClient",
    "QueueLimits",
    "Resume",
    "RetryRule",
    "SGETarget",
    "SchedulerUnavailable",
    "Site",
    "SlurmTarget",
    "SubmissionRoute",
    "SubmitRefused",
    "TorqueTarget",
    "ValueUnreadable",
    "WaitTimeout",
    "Webhook",
    "__version__",
    "array_metadata",
    "build_hpc_job_sensor",
    "build_hpc_notification_sensor",
    "build_job_ended_sensor",
    "build_new_files_sensor",
    "from_all",
    "from_csv",
    "from_json",
    "from_stdout",
    "from_text",
    "hpc_asset",
    "hpc_asset_check",
    "hpc_executor",
    "hpc_job_in_progress",
    "hpc_multi_asset",
    "hpc_python_asset",
    "hpc_service",
    "job_metadata",
]


def _register(module: str) -> None:
    """Let Dagster list this library among those that are in use, unless the engine alone is."""
    if not module.startswith("engine."):
        from dagster_shared.libraries import DagsterLibraryRegistry

        DagsterLibraryRegistry.register("dagster-hpc", __version__, is_dagster_package=False)


__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "assets": (
            "AssetOptions", "HPCAsset", "HPCJobConfig", "hpc_asset", "hpc_asset_check", "hpc_multi_asset",
            "hpc_python_asset",
        ),
        "collectors": ("Expect", "from_all", "from_csv", "from_json", "from_stdout", "from_text"),
        "components": ("HPCJobComponent",),
        "engine.errors": (
            "ConfigurationError", "HPCError", "LedgerError", "SchedulerUnavailable", "SubmitRefused",
        ),
        "engine.job": (
            "Dependency", "JobCancelled", "JobFailed", "JobHandle", "JobLost", "JobMetrics", "JobOutOfMemory", "JobResult",
            "JobState", "JobTimedOut", "NodeFailed", "OutputMissing", "WaitTimeout",
        ),
        "executor": ("hpc_executor",),
        "metadata": ("array_metadata", "job_metadata"),
        "notifications": ("Mail", "Webhook", "build_hpc_notification_sensor"),
        "pipes": ("PipesHPCClient",),
        "python_calls.outcome": ("CallFailed", "ValueUnreadable"),
        "resources.call_future": ("CallFuture",),
        "resources.command": ("Command",),
        "resources.job_runner": ("HPCJobRunner",),
        "resources.limits": ("QueueLimits",),
        "resources.profile": ("ExecutionProfile",),
        "resources.retry": ("Resume", "RetryRule"),
        "resources.targets.allocation": ("Allocation",),
        "resources.service": ("hpc_service",),
        "resources.targets.base": ("HPCTarget", "SubmissionRoute"),
        "resources.targets.flux": ("FluxTarget",),
        "resources.targets.local": ("LocalTarget",),
        "resources.targets.lsf": ("LSFTarget",),
        "resources.targets.pbs": ("GadiTarget", "MiyabiTarget", "PBSTarget"),
        "resources.targets.pjm": ("FugakuTarget", "PJMTarget"),
        "resources.targets.sge": ("SGETarget",),
        "resources.targets.slurm": ("SlurmTarget",),
        "resources.targets.torque": ("TorqueTarget",),
        "sensors": (
            "EndedJob", "build_hpc_job_sensor", "build_job_ended_sensor", "build_new_files_sensor", "hpc_job_in_progress",
        ),
        "site.catalogue": ("Site",),
    },
    before=_register,
)  # fmt: skip
