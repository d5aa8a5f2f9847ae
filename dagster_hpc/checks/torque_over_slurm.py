"""What `dagster-hpc doctor` asks of Slurm's commands for Torque's users. Each function turns one answer into one finding."""

from __future__ import annotations

from collections.abc import Sequence

from dagster_hpc.checks.base import Demand, Finding, Probe
from dagster_hpc.checks.torque import server_answers
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.schedulers.torque.requests import TorqueOverSlurm


def probes(torque: TorqueOverSlurm, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions in the order in which a reader wants the answers."""
    return [
        Probe("qsub", Call(("qsub", "--help")), _is_there),
        Probe("qstat", Call(("qstat", "-u", user)), server_answers),
        Probe("qdel", Call(("qdel", "--help")), _is_there),
    ]


def _is_there(answer: Answer) -> Finding:
    if answer.code != 0:
        return Finding("fail", f"`{answer.argv[0]}` does not work: {answer.words}", "ask your site.")
    return Finding("ok", f"`{answer.argv[0]}` is there")
