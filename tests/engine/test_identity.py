"""Which cluster it is: two of one kind on one ledger are told apart by what they say of themselves."""

from __future__ import annotations

import pytest

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import SchedulerUnavailable
from dagster_hpc.engine.schedulers import KINDS, scheduler_class
from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.flux.requests import Flux
from dagster_hpc.engine.schedulers.lsf.requests import LSF
from dagster_hpc.engine.schedulers.pbs.requests import PBS, PlainPBS
from dagster_hpc.engine.schedulers.sge.requests import SGE
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.schedulers.torque.requests import Torque, TorqueOverSlurm
from tests.transcripts import transcript

ASKED = [kind for kind in KINDS if scheduler_class(kind)().identify()]


def identity(scheduler: Scheduler, name: str, folder: str = "") -> str:
    answer = transcript(folder or scheduler.kind, name)
    call = scheduler.identify()
    assert call is not None
    assert answer.argv == call.argv, "the transcript answers another question"
    return scheduler.read_identity(answer)


@pytest.mark.parametrize(
    ("scheduler", "name", "said"),
    [
        (Slurm(), "identify", "testing"),
        (Slurm(cluster="testing"), "identify_cluster", "testing"),
        (PBS(), "documented_identify", "pbshost"),
        (PlainPBS(), "documented_identify", "pbshost"),
        (Torque(), "documented_identify", "batch.example.org"),
        (LSF(), "identify", "lab"),
        (SGE(), "identify", "node1/default"),
        (Flux(), "documented_identify_system", "fluke3 local:///run/flux/local"),
        (Flux(), "documented_identify_own", "fluke3 local:///tmp/flux-Wz4u6D/local-0"),
        (Flux(), "documented_identify_nested", "fluke3 ƒ9aywmAw"),
    ],
)
def test_a_system_says_which_it_is(scheduler: Scheduler, name: str, said: str) -> None:
    assert identity(scheduler, name) == said


def test_slurm_behind_the_commands_of_torque_is_slurm() -> None:
    assert identity(TorqueOverSlurm(), "identify", "slurm") == "testing"


@pytest.mark.parametrize(
    ("scheduler", "name", "word"),
    [
        (Slurm(), "identify_controller_down", "Unable to contact slurm controller"),
        (Slurm(cluster="nosuch"), "identify_unknown_cluster", "No cluster 'nosuch' known"),
        (Torque(), "documented_identify_server_down", "Connection refused"),
        (LSF(), "identify_down", "LIM is down"),
        (SGE(), "identify_server_down", "unable to send message to qmaster"),
        (Flux(), "documented_identify_down", "Unable to connect to Flux"),
    ],
)
def test_a_failed_question_is_told_in_the_systems_own_words(scheduler: Scheduler, name: str, word: str) -> None:
    with pytest.raises(SchedulerUnavailable, match=word):
        identity(scheduler, name)


def test_a_server_of_pbs_that_is_down_is_told_in_its_own_words() -> None:
    with pytest.raises(SchedulerUnavailable, match="cannot connect to server pbshost"):
        PBS().read_identity(transcript("pbs", "identify_server_down"))


@pytest.mark.parametrize("err", ["qstat: invalid option -- 'B'\nusage: qstat [-f] [-H]\n", "usage: qstat [-f]\n"])
def test_a_qstat_of_pbs_without_the_option_has_no_name_to_tell(err: str) -> None:
    assert PBS().read_identity(Answer(("qstat", "-B", "-f"), 2, "", err)) == ""


@pytest.mark.parametrize("kind", ASKED)
@pytest.mark.parametrize("answer", [(0, ""), (0, "Welcome!\n"), (None, ""), (1, "no\n")])
def test_no_name_is_made_of_an_answer_without_one(kind: str, answer: tuple[int | None, str]) -> None:
    code, out = answer
    with pytest.raises(SchedulerUnavailable):
        scheduler_class(kind)().read_identity(Answer(("command",), code, out, ""))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("slurm", "identify"),
        ("pbs", "documented_identify"),
        ("torque", "documented_identify"),
        ("lsf", "identify"),
        ("sge", "identify"),
        ("flux", "documented_identify_system"),
    ],
)
def test_what_a_site_prints_around_it_changes_no_name(kind: str, name: str) -> None:
    scheduler, plain = scheduler_class(kind)(), transcript(kind, name)
    noisy = Answer(
        plain.argv, 0, f"** Maintenance: 1 December **\n\n{plain.stdout}\nBye.\n", "motd: disk is 90% full\n"
    )
    assert scheduler.read_identity(noisy) == scheduler.read_identity(plain)


def test_systems_that_cannot_say_it_are_not_asked() -> None:
    assert set(KINDS) - set(ASKED) == {"local", "pjm", "pjm-without-bulk", "miyabi"}


@pytest.mark.parametrize(
    ("hosts", "leader"),
    [("node1", "node1"), ("node[001-016]", "node001"), ("node[7,9-12],login1", "node7"), ("a1,b2", "a1")],
)
def test_the_first_host_of_a_flux_is_that_of_its_first_broker(hosts: str, leader: str) -> None:
    out = f"hostlist {hosts}\nlocal-uri local:///run/flux/local\n"
    assert Flux().read_identity(Answer(("flux",), 0, out, "")).split()[0] == leader
