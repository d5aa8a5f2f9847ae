"""What a system tells of its queues, read from the words of real ones, to write the first file of a site."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dagster_hpc.checks import survey
from dagster_hpc.checks.base import Ask, Queue, Survey
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.schedulers import scheduler_class
from tests.checks.test_slurm import PARTITIONS

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
LSF_QUEUES = """\

QUEUE: normal
  -- For normal low priority jobs.  This is the default queue.

PARAMETERS/STATISTICS
PRIO NICE STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN SSUSP USUSP  RSV
 30   20  Open:Active       -    -    -    -     0     0     0     0     0    0

MAXIMUM LIMITS:
 RUNLIMIT
 1440.0 min of hostA

---------------------------------------------------------------

QUEUE: endless
  -- No limits

PARAMETERS/STATISTICS
"""


def recorded(system: str, case: str) -> str:
    return (TRANSCRIPTS / system / f"{case}.out").read_text()


def asking(answers: Mapping[str, str]) -> Ask:
    """A machine on which these commands answer, and there are no others."""

    def ask(call: Call) -> Answer | None:
        said = answers.get(" ".join(call.argv))
        return None if said is None else Answer(call.argv, 0, said, "")

    return ask


def told(kind: str, answers: Mapping[str, str]) -> Survey:
    found = survey(scheduler_class(kind)(), "me", asking(answers))
    assert found is not None
    return found


def test_slurm_tells_partitions_with_their_largest_nodes_and_accounts() -> None:
    said = told(
        "slurm",
        {
            "sinfo -h -a -e -o %P|%l|%a|%D|%c|%m|%G|%s": PARTITIONS,
            "sacctmgr -n -P show assoc user=me format=Account": "proj1\nproj2\nproj1\n",
        },
    )
    cpu, gpu, short, down = said.queues
    assert cpu == Queue("cpu", True, 3, 16, 64000, 0, 86400)
    assert (gpu.gpus_per_node, short.nodes, short.walltime_s, down.walltime_s) == (5, 2, 60, None)
    assert down.closed == "it is down: jobs wait there and do not start"
    assert said.projects == ["proj1", "proj2"]


def test_pbs_tells_its_queues_and_the_default() -> None:
    said = told(
        "pbs",
        {
            "qsub --version": "pbs_version = 23.06.06",
            "qstat -Q -f": recorded("pbs", "room_queue")
            + "Queue: short\n    resources_max.walltime = 01:00:00\n    resources_max.nodect = 2\n    started = False\n",
            "qstat -B -f": recorded("pbs", "room_server"),
        },
    )
    assert said.queues == [
        Queue("workq", is_default=True),
        Queue("short", nodes=2, walltime_s=3600, closed="started is False"),
    ]


def test_torque_and_pbs_are_told_apart_though_their_commands_have_the_same_names() -> None:
    queues = {"qstat -Q -f": "Queue: batch\n    resources_max.walltime = 02:00:00\n    enabled = True\n"}
    torque, pbs = {"qsub --version": "Version: 6.1.3", **queues}, {"qsub --version": "pbs_version = 23.06.06", **queues}

    assert told("torque", torque).queues == [Queue("batch", walltime_s=7200)]
    assert survey(scheduler_class("pbs")(), "me", asking(torque)) is None
    assert survey(scheduler_class("torque")(), "me", asking(pbs)) is None


def test_grid_engine_tells_queues_and_the_environments_that_a_target_needs() -> None:
    short = recorded("sge", "probe_queue")
    endless = short.replace("short.q", "all.q").replace("00:01:00", "INFINITY")
    environment = recorded("sge", "probe_environment")
    said = told(
        "sge",
        {
            "qconf -sq *": f"{endless}\n{short}",
            "qconf -spl": "mpi\nsmp\n",
            "qconf -sp mpi": environment.replace("$pe_slots", "$fill_up"),
            "qconf -sp smp": environment,
        },
    )
    assert [(queue.name, queue.walltime_s) for queue in said.queues] == [("all.q", None), ("short.q", 60)]
    assert said.fields == {"parallel_environment": "smp", "multi_node_environment": "mpi"}


def test_lsf_tells_queues_with_their_limits_of_time() -> None:
    assert told("lsf", {"bqueues -l": LSF_QUEUES}).queues == [
        Queue("normal", is_default=True, walltime_s=86400),
        Queue("endless"),
    ]


def test_flux_tells_its_queues_and_pjm_that_it_is_there() -> None:
    assert told("flux", {"flux queue list -n -o {queue}": "debug\nbatch\n"}).queues == [Queue("debug"), Queue("batch")]
    assert told("pjm", {"pjstat --rsc": "RSCUNIT STATUS\n"}).queues == []


@pytest.mark.parametrize("kind", ["slurm", "pbs", "torque", "sge", "lsf", "flux", "pjm", "local"])
def test_where_no_command_answers_nothing_is_told(kind: str) -> None:
    assert survey(scheduler_class(kind)(), "me", asking({})) is None
