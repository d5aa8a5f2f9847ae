"""Flux: what flux batch, flux jobs and flux cancel are asked.

An instance forgets its jobs when it ends, and keeps no other accounts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.base import Outlook, Report, Room, Scheduler
from dagster_hpc.engine.schedulers.flux import outlook, replies, words


@dataclass(frozen=True)
class Flux(Scheduler):
    """Flux 0.49 and later, whose `flux jobs` has --json.

    Ids belong to one instance: that at `uri`, else that of FLUX_URI or the system's own."""

    kind: ClassVar[str] = "flux"
    suffix: ClassVar[str] = ".flux"
    template: ClassVar[str] = "flux.sh.j2"
    job_id_variable: ClassVar[str] = "FLUX_ENCLOSING_ID"  # FLUX_JOB_ID is of the instance around the script
    index_variable: ClassVar[str] = "FLUX_JOB_CC"
    lacks: ClassVar[Mapping[str, str]] = {
        "memory": "Flux gives cores and GPUs, and takes no request for memory: ask for cores or a whole node instead",
        "array": "Flux has no array jobs: each element has to be a job of its own",
        "array limit": "Flux has no array jobs, so that no limit of elements at once can be set",
        "qos": "Flux has no quality of service; a queue or a bank (project) may stand for it",
        "mail": "Flux sends no mails (mail_to): let a sensor do it, build_hpc_notification_sensor",
        "reservation": "Flux has no reservations",
        "srun": "Flux has no srun: choose launcher flux, or mpirun on one node",
    }

    uri: str = ""

    # -- which instance it is

    def identify(self) -> Call:
        return self.ask("lsattr", "-v")

    def read_identity(self, answer: Answer) -> str:
        return replies.instance_name(answer)

    # -- what the script says

    def unsupported(self, spec: JobSpec) -> list[str]:
        faults = super().unsupported(spec)
        if spec.nodes > 1 and spec.launcher not in ("single", "srun", "flux"):
            faults.append(f"under Flux {spec.launcher} starts ranks on the first node only: choose launcher flux")
        return faults

    def elsewhere(self, spec: JobSpec) -> str:
        """The hosts on which it shall not run, as a constraint."""
        return " and ".join(f"-host:{node}" for node in spec.exclude_nodes)

    def quoted(self, text: str) -> str:
        """A value in double quotes. Three quotes in a row, of whatever kinds, begin one of several lines."""
        quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if re.search(r"""[\n\r\0\udc80-\udcff]|["']{3}""", quoted):
            raise ConfigurationError(
                f"{text!r} contains what no directive of Flux can hold: a line break, three quotes in a row, or bytes that "
                f"are not UTF-8"
            )
        return quoted

    def log_path(self, spec: JobSpec, directory: str) -> str:
        if "{{" in directory:
            raise ConfigurationError(f"{directory!r} contains {{{{, which begins a field in the path of a Flux log")
        return f"{directory}/scheduler.log"

    def worth_telling(self, log: str) -> str:
        return words.worth_telling(log)

    # -- submit

    def submit(self, script: str) -> Call:
        return self.ask("batch", script)

    def read_submit(self, answer: Answer) -> str:
        return replies.submitted(answer)

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        return self.ask("jobs", "--json", *(ids or ("-a", "-c0")))

    def read_queue(self, answer: Answer) -> Report:
        return replies.queue_report(answer)

    def room(self, user: str, queue: str, project: str) -> list[Call]:
        return [self.ask("account", "view-user", user), self.ask("jobs", "--json", "-c0")]

    def read_room(self, answers: Sequence[Answer]) -> Room:
        return replies.room(*answers) if len(answers) == len(self.room("", "", "")) else Room()

    # -- outlook

    def outlook(self, job_id: str) -> Call:
        return self.queue([job_id])

    def read_outlook(self, answer: Answer) -> Outlook:
        return outlook.read(answer)

    # -- find and cancel

    def find(self, job_name: str) -> list[Call]:
        return [self.ask("jobs", "-a", "-c0", "--json", f"--name={job_name}")]

    def read_found(self, answer: Answer) -> list[str]:
        return replies.found(answer)

    def cancel(self, ids: Sequence[str]) -> Call:
        return self.ask("cancel", *ids)

    def read_cancel(self, answer: Answer) -> None:
        replies.check_cancelled(answer)

    def element_id(self, job_id: str, index: int) -> str:
        return job_id  # there are no arrays

    def array_id(self, element_id: str) -> str:
        return element_id

    def own_id(self, spec: JobSpec) -> str:
        # Before 0.71 no variable of the script has it, but the instance that the script runs in knows. Both spell it in
        # another way than the queue. Where nobody tells it, the script has a word that is compared with no id.
        told = '"${FLUX_ENCLOSING_ID:-$(flux getattr jobid)}"'
        return f'$(flux job id --to=dec {told} 2>/dev/null || echo "none-$HOSTNAME-$$")'

    def ask(self, *arguments: str) -> Call:
        """A command of Flux's, for the right instance."""
        return Call(("flux", *arguments), environment={"FLUX_URI": self.uri} if self.uri else {})
