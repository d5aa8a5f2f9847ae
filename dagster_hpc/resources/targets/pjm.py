"""PJM of Fujitsu's systems; and Fugaku, a site of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from pydantic import Field

from dagster_hpc.engine.job import JobSpec
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
    freq: int | None = Field(default=None, description="Clock of the CPU in MHz: 2000 or 2200.")
    eco: int | None = Field(default=None, description="Eco mode, eco_state: 0, 1 or 2.")
    retention: bool | None = Field(
        default=None, description="Whether idle cores may go to sleep, retention_state: yes is 1, no is 0."
    )
    spack_setup: str = Field(
        default="/vol0004/apps/oss/spack/share/spack/setup-env.sh", description="Spack's setup-env.sh."
    )

    @property
    def default_name(self) -> str:
        return "fugaku"

    def options(self) -> Mapping[str, str | Sequence[str]]:
        power = [f"{key}={value}" for key, value in self._power().items()]
        return {**super().options(), "pjm_resources": [*power, *self.pjm_resources]}

    def _power(self) -> dict[str, int]:
        named = {"freq": self.freq, "eco_state": self.eco, "retention_state": self.retention}
        return {key: int(value) for key, value in named.items() if value is not None}

    def faults(self, resource_class: ResourceClass) -> list[str]:
        route, field = self.route(resource_class), f"project_{resource_class}"
        return [
            sentence
            for wrong, sentence in (
                (not route.project, f"Fugaku charges every job to a group: set {field} of the target"),
                # Everybody is in it; `pjacl` says "deny" of it.
                (route.project == "fugaku", f"the group 'fugaku' may submit no jobs: set {field} to your project's"),
                (
                    route.project == _STARTUP and not route.queue.startswith("spot-"),
                    f"the group {_STARTUP!r} may use only spot-small, spot-middle, spot-large and spot-int: "
                    f"set queue_{resource_class} to one of them",
                ),
                (self.freq not in (None, 2000, 2200), f"freq is {self.freq}: Fugaku's CPUs run at 2000 or 2200 MHz"),
                (self.eco not in (None, 0, 1, 2), f"eco is {self.eco}: eco_state is 0, 1 or 2"),
                # pjsub takes such a job, and the site's gate check puts it into the error state minutes later.
                ("," in (self.gfscache or ""), f"gfscache is {self.gfscache!r}: put ':' between two volumes"),
            )
            if wrong
        ] + [
            f"pjm_resources has {key}=, and so has a field of the target: say it once"
            for key in self._power()
            if re.search(rf"\b{key}\s*=", ",".join(self.pjm_resources))
        ]

    def place_faults(self, spec: JobSpec, folder: str) -> list[str]:
        """Nodes see /home, and of the other file systems those volumes only that gfscache names."""
        volumes = (self.gfscache or "").split(":")
        faults = []
        if not _is_seen(folder, volumes):
            faults.append(f"work_root {folder} is on none of the volumes that the nodes see: {_remedy(folder)}")
        read = {"the executable": spec.executable, "the container": spec.container or ""}
        read |= {f"the executable of element {index}": one.executable for index, one in enumerate(spec.programs)}
        if spec.option_list("spack_modules"):
            read["spack_setup"] = spec.option("spack_setup") or ""
        faults += [
            f"{what} {path} is on a volume that the nodes do not see: {_remedy(path)}"
            for what, path in read.items()
            if _VOLUME.match(os.path.realpath(path)) and not _is_seen(path, volumes)
        ]
        return faults


_STARTUP = "trial"  # the project that every new account begins with
_VOLUME = re.compile(r"/vol\d{4}(?=/|$)", re.ASCII)
_EVERYWHERE = ("/home", "/2ndfs")  # nodes see these without being told


def _is_seen(path: str, volumes: Sequence[str]) -> bool:
    """By its own name, or where its links lead: /data/GROUP is a link to a volume."""
    roots = [volume.rstrip("/") for volume in (*_EVERYWHERE, *volumes) if volume.rstrip("/")]
    return any(name == root or name.startswith(f"{root}/") for root in roots for name in (path, os.path.realpath(path)))


def _remedy(path: str) -> str:
    volume = _VOLUME.match(os.path.realpath(path))
    if volume:
        return f"add {volume[0]} to gfscache, with ':' between two volumes"
    return "put it below /home, or on a volume such as /vol0004 and name that in gfscache"
