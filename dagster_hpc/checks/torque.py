"""What `dagster-hpc doctor` asks of Torque. Each function turns one answer into one finding."""

from __future__ import annotations

from collections.abc import Sequence

from dagster_hpc.checks.base import Ask, Demand, Finding, Probe, Survey
from dagster_hpc.checks.mpi import mpi_probes
from dagster_hpc.checks.pbs import survey_of_queues
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.schedulers.torque.requests import Torque


def probes(torque: Torque, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    return [
        Probe("qsub", Call(("qsub", "--version")), _version),
        Probe("qstat", Call(("qstat", "-u", user)), server_answers),
        Probe("qdel", Call(("qdel", "--version")), _version),
        *mpi_probes("torque", demands),
    ]


def survey(torque: Torque, user: str, ask: Ask) -> Survey | None:
    """The queues, if this is a Torque."""
    said = ask(Call(("qsub", "--version")))
    return survey_of_queues(ask) if said is not None and _version(said).level == "ok" else None


def _version(answer: Answer) -> Finding:
    said = answer.stdout.strip() or answer.stderr.strip()
    if "pbs_version" in said:
        return Finding("fail", f"this is PBS ({said}), not Torque", "use PBSTarget.")
    if "sbatch" in said.lower() or "Usage:" in said:
        advice = "set over_slurm=True in TorqueTarget, or better, use SlurmTarget."
        return Finding("fail", f"`{answer.argv[0]}` is one of the commands that Slurm brings", advice)
    return Finding("ok", said.partition("\n")[0] or f"`{answer.argv[0]}` is there")


def server_answers(answer: Answer) -> Finding:
    if answer.code not in (0, 153):
        return Finding("fail", f"the server does not answer: {answer.words}", "ask your site whether it runs.")
    number = sum(line[:1].isdigit() for line in answer.stdout.split("\n"))
    return Finding("ok", f"the server answers; {number} of your jobs are in the queue")
