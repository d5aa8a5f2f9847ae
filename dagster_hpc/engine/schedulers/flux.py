"""Flux: flux batch, flux jobs, flux cancel. An instance forgets its jobs when it ends, and keeps no other accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import ConfigurationError, SchedulerUnavailable, SubmitRefused, did_you_mean
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.base import Demand, Finding, Probe, Report, Scheduler
from dagster_hpc.engine.schedulers.flux_text import by_id, decimal_id, job_records

_UNREACHED = ("unable to connect to flux", "broker socket", "connection refused", "connection reset", "timed out")
_ADVICE = {
    "queue": "check queue_cpu / queue_gpu of the target; `flux queue list` lists the queues.",
    "dependency": "check the jobs that it depends on: Flux forgets jobs that have been over for long.",
    "bank": "check project_cpu / project_gpu of the target; `flux account view-user $USER` lists your banks.",
    "duration": "check the walltime; `flux queue list` shows the limits.",
}


@dataclass(frozen=True)
class Flux(Scheduler):
    """Flux 0.30 and later. Ids belong to one instance: that at `uri`, else that of FLUX_URI or the system's own."""

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
        "reservation": "Flux has no reservations",
        "srun": "Flux has no srun: choose launcher flux, or mpirun on one node",
    }

    uri: str = ""

    # -- what the script says

    def unsupported(self, spec: JobSpec) -> list[str]:
        faults = super().unsupported(spec)
        if spec.nodes > 1 and spec.launcher not in ("single", "srun", "flux"):
            faults.append(f"under Flux {spec.launcher} starts ranks on the first node only: choose launcher flux")
        return faults

    def log_path(self, spec: JobSpec, directory: str) -> str:
        if "{{" in directory:
            raise ConfigurationError(f"{directory!r} contains {{{{, which begins a field in the path of a Flux log")
        return f"{directory}/scheduler.log"

    # -- submit

    def submit(self, script: str) -> Call:
        return self._call("batch", script)

    def read_submit(self, answer: Answer) -> str:
        lines = reversed(answer.stdout.splitlines()) if answer.code == 0 else []
        job_id = next((found for line in lines if (found := decimal_id(line.strip()))), None)
        if job_id:
            return job_id
        if answer.code in (None, 0) or _unreached(answer):
            raise SchedulerUnavailable(f"flux batch left it open whether the job was taken: {answer.words}")
        lowered = answer.words.lower()
        advice = next((text for word, text in _ADVICE.items() if word in lowered), "")
        raise SubmitRefused(
            f"Flux refused the job: {answer.words}",
            advice=advice or "correct what Flux names; `dagster-hpc render` shows the script.",
        )

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        return self._call("jobs", "--json", *(ids or ("-a", "-c0")))

    def read_queue(self, answer: Answer) -> Report:
        unknown = [
            line for line in answer.stderr.splitlines() if line.startswith("JobID ") and line.endswith("unknown")
        ]
        if answer.code == 1 and unknown and not answer.stdout.strip():
            return Report()  # none of them is known: they never were, or have been forgotten
        records = job_records(answer.stdout)
        if records is None or answer.code is None or (answer.code != 0 and not unknown):
            words = answer.words if answer.code != 0 else f"its answer is not understood: {answer.stdout[:200]!r}"
            return Report(failed=words)
        return Report(jobs=by_id(records))

    # -- find and cancel

    def find(self, job_name: str) -> list[Call]:
        return [self._call("jobs", "-a", "-c0", "--json", f"--name={job_name}")]

    def read_found(self, answer: Answer) -> list[str]:
        report = self.read_queue(answer)
        if report.failed:
            raise SchedulerUnavailable(f"Flux could not be asked for the job: {report.failed}")
        return list(report.jobs)

    def cancel(self, ids: Sequence[str]) -> Call:
        return self._call("cancel", *ids)

    def read_cancel(self, answer: Answer) -> None:
        if answer.code == 0:
            return
        lines = [line for line in answer.stderr.splitlines() if line.strip()]
        over = all(line.endswith(("job is inactive", "unknown job id")) for line in lines)
        if answer.code != 1 or not lines or not over:
            raise SchedulerUnavailable(f"Flux did not take the cancellation: {answer.words}")

    def element_id(self, job_id: str, index: int) -> str:
        return job_id  # there are no arrays

    def array_id(self, element_id: str) -> str:
        return element_id

    # -- doctor

    def probes(self, demands: Sequence[Demand], user: str) -> list[Probe]:
        queues = list(dict.fromkeys(demand.queue for demand in demands if demand.queue))
        listed = self._call("queue", "list", "-n", "-o", "{queue}")
        return [
            Probe("flux", self._call("--version"), _version),
            Probe("flux jobs", self._call("jobs", "--json"), self._answers),
            Probe("flux resource", self._call("resource", "list"), _resources, "warn"),
            *(Probe("queue", listed, partial(_queue, name), "warn") for name in queues),
        ]

    def _answers(self, answer: Answer) -> Finding:
        report = self.read_queue(answer)
        if report.failed:
            advice = "set FLUX_URI or `uri` of the target to an instance that runs."
            return Finding("fail", f"the instance does not answer: {report.failed}", advice)
        return Finding("ok", f"the instance answers; {len(report.jobs)} of your jobs are not over")

    def _call(self, *arguments: str) -> Call:
        return Call(("flux", *arguments), environment={"FLUX_URI": self.uri} if self.uri else {})


def _unreached(answer: Answer) -> bool:
    return any(phrase in answer.words.lower() for phrase in _UNREACHED)


def _version(answer: Answer) -> Finding:
    line = next((line for line in answer.stdout.splitlines() if any(c.isdigit() for c in line)), "")
    if answer.code != 0 or not line:
        return Finding("fail", f"`flux --version` does not work: {answer.words}", "load Flux's environment.")
    return Finding("ok", " ".join(line.split()))


def _resources(answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding("warn", f"the resources cannot be listed: {answer.words}", "ask your site.")
    free = next((line.split() for line in answer.stdout.splitlines() if line.split()[:1] == ["free"]), [])
    found = f"{free[1]} nodes and {free[2]} cores are free" if len(free) > 2 else "the instance has resources"
    return Finding("ok", found)


def _queue(name: str, answer: Answer) -> Finding:
    names = [word for line in answer.stdout.splitlines() if (word := line.strip().rstrip("*"))]
    if answer.code != 0:
        return Finding("warn", f"the queues cannot be listed: {answer.words}", "ask your site.")
    if name not in names:
        hint = did_you_mean(name, names)
        return Finding("fail", f"there is no queue {name!r}: {hint}", "correct queue_cpu / queue_gpu of the target.")
    return Finding("ok", f"there is a queue {name}")
