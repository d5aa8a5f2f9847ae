"""PJM of Fujitsu's systems; and Fugaku, a site of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.pjm.requests import PJM, PJMWithoutBulk
from dagster_hpc.resources.profile import ResourceClass
from dagster_hpc.resources.targets.base import HPCTarget


class PJMTarget(HPCTarget):
    """A system under Fujitsu's PJM (Technical Computing Suite), reached by the pjsub, pjstat and pjdel on this machine.

    Example:
        PJMTarget(queue_cpu="regular-o", project_cpu="ab12", executable_map={"bitcount": "/apps/ab12/bitcount"})
    """

    gfscache: str | None = Field(
        default=None,
        description="Volumes that the compute nodes see (PJM_LLIO_GFSCACHE), as in /vol0002:/vol0004.",
    )
    llio: list[str] = Field(default=[], description="Options of --llio, as in localtmp-size=10Gi.")
    mpi_options_for_pjm: list[str] = Field(
        default=[], description="Options of --mpi beside the number of ranks, as in rank-map-bychip."
    )
    pjm_resources: list[str] = Field(
        default=[], description="Further items of -L, as in freq=2000,eco_state=2 or node=2x3x2:torus."
    )
    bulk_jobs: bool = Field(
        default=True, description="Whether the site permits bulk jobs; if not, arrays become single jobs."
    )
    spack_modules: list[str] = Field(default=[], description="Packages for `spack load`, in this order.")
    spack_setup: str = Field(
        default="", description="Spack's setup-env.sh, read before the first of them; empty: spack is there already."
    )

    @property
    def scheduler(self) -> Scheduler:
        return PJM() if self.bulk_jobs else PJMWithoutBulk()

    @property
    def default_name(self) -> str:
        return PJM.kind

    def options(self) -> Mapping[str, str | Sequence[str]]:
        return {
            "gfscache": [self.gfscache] if self.gfscache else [],
            "llio": self.llio,
            "mpi_options_for_pjm": self.mpi_options_for_pjm,
            "pjm_resources": self.pjm_resources,
            "spack_modules": self.spack_modules,
            "spack_setup": [self.spack_setup] if self.spack_setup else [],
        }


class FugakuTarget(PJMTarget):
    """Fugaku. Every job is charged to a group, and reads no file on a volume that gfscache does not name.

    Example:
        FugakuTarget(queue_cpu="small", project_cpu="hp200999", gfscache="/vol0004:/vol0002")
    """

    gfscache: str | None = Field(
        default="/vol0002", description="Volumes that the compute nodes see (PJM_LLIO_GFSCACHE), as in /vol0004."
    )
    spack_setup: str = Field(
        default="/vol0004/apps/oss/spack/share/spack/setup-env.sh", description="Spack's setup-env.sh."
    )

    @property
    def default_name(self) -> str:
        return "fugaku"

    def faults(self, resource_class: ResourceClass) -> list[str]:
        project = self.route(resource_class).project
        return [] if project else [f"Fugaku charges every job to a group: set project_{resource_class} of the target"]
