"""Torque: what qsub, qstat, qdel and qselect are asked.

It keeps no history: a job that is over stays for some minutes, in state C.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.jobdir import directory_of_script
from dagster_hpc.engine.schedulers.base import Outlook, Report, Room, Scheduler
from dagster_hpc.engine.schedulers.pbs import outlook
from dagster_hpc.engine.schedulers.pbs.records import server_name
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.schedulers.torque import replies
from dagster_hpc.engine.units import format_walltime

SUBMIT_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Torque(Scheduler):
    """Torque itself, with a scheduler such as Maui or Moab behind it."""

    kind: ClassVar[str] = "torque"
    suffix: ClassVar[str] = ".torque"
    template: ClassVar[str] = "torque.sh.j2"
    job_id_variable: ClassVar[str] = "PBS_JOBID"
    index_variable: ClassVar[str] = "PBS_ARRAYID"
    name_limit: ClassVar[int] = 15  # Torque refuses more
    ids_per_call: ClassVar[int] = 200
    lacks: ClassVar[dict[str, str]] = {
        "qos": "Torque itself has no quality of service (qos): write the line of the site's scheduler into directives",
        "reservation": "Torque itself has no reservations: write the line of the site's scheduler into directives",
        "exclusive": "Torque itself has no exclusive nodes: ask for all cores, or write the site's line into directives",
        "signal": "Torque cannot send a signal before the walltime ends (signal_before_end): set a timer in the command",
        "srun": "Torque has no launcher srun: choose mpirun, mpiexec or mpiexec.hydra",
    }

    kill_orphans: ClassVar[str] = ""  # a line for what Torque does by itself: end a job whose dependency has failed

    # -- which server it is

    def identify(self) -> Call:
        return Call(("qstat", "-B", "-f"))

    def read_identity(self, answer: Answer) -> str:
        return server_name(answer, "Torque")

    # -- what the script says

    def resources(self, spec: JobSpec) -> str:
        """All in one list: of two such lines some commands read the last only."""
        nodes = f"nodes={spec.nodes}:ppn={spec.cores_per_node}"
        if spec.gpus_per_node:
            nodes += f":gpus={spec.gpus_per_node}"
        memory = [f"mem={self._memory_mib(spec)}mb"] if spec.memory_per_node_mib else []
        return ",".join([nodes, f"walltime={format_walltime(spec.walltime_s)}", *memory])

    def _memory_mib(self, spec: JobSpec) -> int:
        return (spec.memory_per_node_mib or 0) * spec.nodes  # Torque counts a job's memory, not a node's

    def array(self, spec: JobSpec) -> str:
        return f"0-{len(spec.elements) - 1}{f'%{spec.element_limit}' if spec.element_limit else ''}"

    def dependency(self, spec: JobSpec) -> str:
        """Whole arrays have words of their own: afterokarray:12[]."""
        return ",".join(f"{one.kind}{'array' if '[]' in one.job_id else ''}:{one.job_id}" for one in spec.dependencies)

    def value(self, text: str) -> str:
        if re.search(r"[\s\"'\\#;&|$`<>()]", text) or not text.isascii():
            raise ConfigurationError(f"{text!r} cannot stand in a Torque directive: it has blanks, quotes or signs")
        return text

    def log_path(self, spec: JobSpec, directory: str) -> str:
        """Torque itself adds -INDEX for each element of an array."""
        if not directory.isascii() or re.search(r"[\s\"'\\:,]", directory):
            raise ConfigurationError(
                f"{directory!r} cannot be the folder of a Torque log: it has blanks, quotes, colons or foreign letters",
                advice="choose another work_root.",
            )
        return f"{directory}/scheduler.log"

    def log_of(self, work_dir: str, index: int | None) -> str:
        if index is None:
            return f"{work_dir}/scheduler.log"
        return f"{posixpath.dirname(work_dir)}/scheduler.log-{index}"

    # -- submit

    def submit(self, script: str) -> Call:
        return Call(("qsub", script), SUBMIT_TIMEOUT_S)

    def read_submit(self, answer: Answer) -> str:
        return replies.submitted(answer)

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        elements = ("-t",) if any("[]" in job_id for job_id in ids) else ()
        return Call(("qstat", "-f", "-1", *elements, *ids))

    def read_queue(self, answer: Answer) -> Report:
        return replies.queue_report(answer)

    # -- room

    def room(self, user: str, queue: str, project: str) -> list[Call]:
        there = (queue,) if queue else ()
        counted = ("-q", queue) if queue else ()
        return [
            Call(("qstat", "-Q", "-f", *there)),
            Call(("qstat", "-B", "-f")),
            Call(("qselect", "-u", user, *counted)),
        ]

    def read_room(self, answers: Sequence[Answer]) -> Room:
        return replies.room(answers)

    # -- outlook

    def outlook(self, job_id: str) -> Call:
        return Call(("qstat", "-f", job_id))

    def read_outlook(self, answer: Answer) -> Outlook:
        return outlook.read(answer)

    # -- find and cancel

    def find(self, job_name: str) -> list[Call]:
        return [Call(("qselect", "-N", job_name))]

    def read_found(self, answer: Answer) -> list[str]:
        return replies.found(answer)

    def cancel(self, ids: Sequence[str]) -> Call:
        return Call(("qdel", *ids))

    def read_cancel(self, answer: Answer) -> None:
        replies.check_cancelled(answer)

    def element_id(self, job_id: str, index: int) -> str:
        return job_id.replace("[]", f"[{index}]", 1)

    def array_id(self, element_id: str) -> str:
        return re.sub(r"^(\d+)\[\d+\]", r"\1[]", element_id)


@dataclass(frozen=True)
class TorqueOverSlurm(Torque):
    """The commands that Slurm brings for Torque's users (slurm-wlm-torque): Torque's names and options, Slurm underneath.

    They read no directives themselves; sbatch does, which they call through a shell without quoting. Elements of an
    array cannot be told apart in what they show, so there is one job at a time.
    """

    kind: ClassVar[str] = "torque-slurm"
    dialect_of: ClassVar[str] = "torque"
    job_id_variable: ClassVar[str] = "SLURM_JOB_ID"
    lacks: ClassVar[dict[str, str]] = {
        **Torque.lacks,
        "array": "Slurm's commands for Torque do not show the elements of an array: run single jobs, or use SlurmTarget",
    }

    kill_orphans: ClassVar[str] = "#SBATCH --kill-on-invalid-dep=yes"  # or a job whose dependency failed waits for ever

    def _memory_mib(self, spec: JobSpec) -> int:
        return spec.memory_per_node_mib or 0

    def identify(self) -> Call:
        """These commands do not say it; Slurm's own stand beside them."""
        return Slurm().identify()

    def read_identity(self, answer: Answer) -> str:
        return Slurm().read_identity(answer)

    def room(self, user: str, queue: str, project: str) -> list[Call]:
        return Slurm().room(user, queue, project)

    def read_room(self, answers: Sequence[Answer]) -> Room:
        return Slurm().read_room(answers)

    def submit(self, script: str) -> Call:
        """The log is named here, because a default of the command would go before the directive in the script."""
        log = f"{directory_of_script(script)}/scheduler.log".replace("%", "%%")
        return Call(("qsub", "-j", "oe", "-o", shlex.quote(log), shlex.quote(script)), SUBMIT_TIMEOUT_S)

    def read_queue(self, answer: Answer) -> Report:
        return replies.queue_report(answer, replies.status_over_slurm)

    def find(self, job_name: str) -> list[Call]:
        """There is no look-up by name: the whole queue is read. -W is an option without a meaning; it holds the name."""
        return [Call(("qstat", "-W", job_name))]

    def read_found(self, answer: Answer) -> list[str]:
        return replies.found_over_slurm(answer)
