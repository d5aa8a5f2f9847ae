"""`HPCJobComponent`: batch jobs as assets, written in a `defs.yaml`."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import dagster as dg
from pydantic import BaseModel
from typing_extensions import Self

from dagster_hpc.components.asset import asset_of
from dagster_hpc.components.automation import ScheduleField
from dagster_hpc.components.faults import Fault, errors_at, faults_of, faults_of_requests, refuse
from dagster_hpc.components.job import Job
from dagster_hpc.components.notifications import NotificationsField
from dagster_hpc.components.partitions import distinct
from dagster_hpc.components.place import Profile, Target
from dagster_hpc.components.repeating import Retry
from dagster_hpc.components.scaffolder import JobScaffolder
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.targets.base import HPCTarget
from dagster_hpc.sensors import build_hpc_job_sensor
from dagster_hpc.site.catalogue import Site

_told = dg.Resolver.default


@dg.scaffold_with(JobScaffolder)
@dataclass(frozen=True)
class HPCJobComponent(dg.Component, dg.Resolvable):
    """Batch jobs as assets, without Python: what runs, where, how and when.

    Each of the `jobs` makes one asset. A job that names the output of another in its `args` runs after it.

    Example:
        component = HPCJobComponent.from_attributes_dict(
            attributes={
                "target": {"kind": "slurm", "queue_cpu": "regular"},
                "work_root": "/scratch/me/dagster",
                "schedule": "0 6 * * *",
                "jobs": [
                    {"asset": "samples", "script": "seq 100 >n.txt", "outputs": {"numbers": "n.txt"}},
                    {"asset": "total", "script": 'paste -sd+ "$1" | bc', "args": ["{{ deps.samples.numbers }}"]},
                ],
            }
        )
        assert [job.asset.to_user_string() for job in component.jobs] == ["samples", "total"]
    """

    jobs: Annotated[
        list[Job],
        _told(
            description="The batch jobs, each of which makes one asset.",
            examples=[[{"asset": "energies", "script": "./simulate >energies.csv", "outputs": {"table": "energies.csv"}}]],
        ),
    ]
    target: Target = None
    work_root: Annotated[
        str | None,
        _told(
            description="Folder for the jobs' directories, visible on the compute nodes; for a target that is written here.",
            examples=["/scratch/me/dagster"],
        ),
    ] = None
    runner: Annotated[
        str, _told(description="Resource key of the project's HPCJobRunner, where the target is not said here.")
    ] = "hpc"
    profile: Profile = None
    retry: Retry = None
    schedule: ScheduleField = None
    notifications: NotificationsField = None

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        return dg.ComponentTypeSpec(
            description="Batch jobs on Slurm, PBS, PJM, Grid Engine, LSF, Flux or this machine, as assets.",
            tags=["hpc"],
            produces=["asset", "asset_check", "schedule", "sensor", "resource"],
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """The component as it is written; what is wrong with it is told with its lines."""
        if attributes is None:
            raise ConfigurationError("the file has no attributes", advice="write the jobs under `attributes: jobs:`.")
        made = super().load(attributes, context)
        folder, where = folder_of(context), context.resolution_context
        refuse([*made.faults(), *faults_of(made.jobs, folder)], where)
        with errors_at(["target"], where):
            own = made.own_runner()
        if own is not None:
            refuse([*faults_of_requests(made.jobs, folder, own, made.usual_profile)], where)
        return made

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The assets, with the schedule, the sensor and the runner that they need."""
        name, own = name_of(context), self.own_runner()
        key = self.runner if own is None else f"hpc_{name}"
        folder, schedules, sensors = folder_of(context), [], []
        if self.schedule:
            partitions = next(iter(distinct(job.partitions_def for job in self.jobs)), None)
            schedules.append(self.schedule.definition(name, [job.asset for job in self.jobs], partitions))
        if any(job.detached for job in self.jobs):
            # It starts no job, and without it nobody hears of those that are detached.
            running = dg.DefaultSensorStatus.RUNNING
            sensors.append(build_hpc_job_sensor(f"{name}_jobs", runner=key, default_status=running))
        if self.notifications:
            sensors.append(self.notifications.sensor(f"{name}_notifications", [job.asset for job in self.jobs], key))
        return dg.Definitions(
            assets=[
                asset_of(job, folder, runner=key, profile=self.usual_profile, retry=self.retry) for job in self.jobs
            ],
            schedules=schedules,
            sensors=sensors,
            resources={} if own is None else {key: own},
        )

    @property
    def usual_profile(self) -> str | ExecutionProfile:
        """That of a job which names none: of a runner that is made elsewhere, its default."""
        return self.profile or (ExecutionProfile() if isinstance(self.target, HPCTarget) else "")

    def own_runner(self) -> HPCJobRunner | None:
        """The runner of a target that is written or named here; None where the project has one."""
        if self.target is None:
            return None
        if isinstance(self.target, str):
            return Site.load().runner(self.target)
        return HPCJobRunner(target=self.target, work_root=self.work_root or "")

    def faults(self) -> list[Fault]:
        """What is wrong with the attributes, apart from those of each job."""
        faults = []
        if isinstance(self.target, HPCTarget) and not self.work_root:
            faults.append(Fault(["target"], "a target that is written here needs a work_root: the folder for its jobs"))
        if self.schedule and len(distinct(job.partitions_def for job in self.jobs)) > 1:
            faults.append(Fault(["schedule"], "one schedule is for jobs with the same partitions: use two files"))
        return faults


def folder_of(context: dg.ComponentLoadContext) -> Path:
    """Where the `defs.yaml` lies."""
    return context.path if context.path.is_dir() else context.path.parent


def name_of(context: dg.ComponentLoadContext) -> str:
    """Of the schedule, the sensor and the runner of this file: the folder in which it lies."""
    place = context.component_path
    folder = place.file_path.relative_to(context.defs_module_path).as_posix().removesuffix("defs.yaml")
    parts = [folder, place.instance_key or ""]  # the second and further ones of a file are numbered
    return re.sub(r"\W+", "_", "_".join(map(str, parts))).strip("_") or "hpc_jobs"
