"""How many jobs a PBS would take now: its limits as documented, counted as documented."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc import Command, ExecutionProfile, GadiTarget, HPCJobRunner
from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.schedulers.base import Room
from dagster_hpc.engine.schedulers.pbs.requests import PBS, Gadi
from tests.transcripts import transcript

QUEUE = """Queue: workq
    queue_type = Execution
    total_jobs = 9
    state_count = Transit:0 Queued:4 Held:1 Waiting:0 Running:4 Exiting:0 Begun
\t:0
{limits}    enabled = True

"""
SERVER = """Server: pbshost
    server_state = Active
    state_count = Transit:0 Queued:4 Held:1 Waiting:0 Running:4 Exiting:0 Begun:0
    default_queue = workq
{limits}
"""
MINE = "10.pbshost\n11.pbshost\n12[].pbshost\n12[0].pbshost\n12[1].pbshost\n13[].pbshost\n"  # 2, 2 elements, 1 unlisted
WAITING = "11.pbshost\n"


def test_what_a_real_server_says_is_understood() -> None:
    names = ("room_queue", "room_server", "room_alive", "room_alive", "room_waiting", "room_waiting")
    answers = [transcript("pbs", name) for name in names]
    assert [call.argv for call in PBS().room("pbsu", "workq", "")][:2] == [answers[0].argv, answers[1].argv]
    assert PBS().room("pbsu", "workq", "")[3].argv == answers[2].argv
    assert PBS().read_room(answers) == Room(elements=10_000)
    more = "    max_queued = [u:PBS_GENERIC=10]\n    enabled"
    limited = replace(answers[0], stdout=answers[0].stdout.replace("    enabled", more))
    assert PBS().read_room([limited, *answers[1:]]) == Room(3, 10)  # 1 job, 3 elements that run, 3 that are held


def room(queue: str = "", server: str = "", pbs: PBS | None = None, asked: str = "workq") -> Room:
    pbs = pbs or PBS()
    replies = [QUEUE.format(limits=queue), SERVER.format(limits=server), MINE, MINE, WAITING, WAITING]
    calls = pbs.room("me", asked, "ab12")
    return pbs.read_room([Answer(call.argv, 0, out, "") for call, out in zip(calls, replies, strict=True)])


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ("    max_queued = [u:PBS_GENERIC=10]\n", 5),  # what runs counts too, and each element as one
        ("    max_queued = [u:PBS_GENERIC=10],[u:me=7]\n", 2),  # one's own limit goes before that for all
        ("    max_queued = [u:PBS_GENERIC=10],[u:you=1]\n", 5),
        ("    max_queued = [o:PBS_ALL=12],[u:PBS_GENERIC=100]\n", 3),  # all jobs of all users
        ("    max_queued = [g:PBS_GENERIC=6]\n", 1),
        ("    max_queued = [p:PBS_GENERIC=8],[g:PBS_GENERIC=20]\n", 3),
        ('    max_queued = [u:"me"=6]\n', 1),
        ("    max_queued = [u:PBS_GENERIC=3]\n", 0),
        ("    max_queued = [u:me=0]\n", None),  # barred: qsub says so
        ("    queued_jobs_threshold = [u:PBS_GENERIC=10]\n", 9),  # what runs does not count
        ("    queued_jobs_threshold = [o:PBS_ALL=6]\n", 1),
        ("    max_queuable = 10\n", 1),
        ("    max_run = [u:PBS_GENERIC=1]\n", None),  # such jobs are taken, and wait
        ("    max_queued_res.ncpus = [u:PBS_GENERIC=1]\n", None),
        ("", None),
    ],
)
def test_the_limits_of_a_queue_leave_so_much_room(limits: str, left: int | None) -> None:
    assert room(queue=limits).jobs == left
    if "max_queuable" not in limits:
        assert room(server=limits).jobs == left


def test_the_smallest_limit_decides() -> None:
    assert room("    max_queued = [u:PBS_GENERIC=10]\n", "    max_queued = [u:PBS_GENERIC=7]\n").jobs == 2


def test_without_a_queue_the_servers_default_is_meant() -> None:
    assert room("    max_queued = [u:PBS_GENERIC=10]\n", asked="").jobs == 5


def test_an_array_is_as_large_as_queue_and_server_allow() -> None:
    assert room(server="    max_array_size = 10000\n").elements == 10_000
    assert room("    max_array_size = 50\n", "    max_array_size = 10000\n").elements == 50
    assert room(server="    max_array_size = 10000\n", pbs=Gadi()).elements == 10
    assert room(pbs=Gadi()) == Room(elements=10)
    assert room("    max_queued = [u:PBS_GENERIC=40]\n", "    max_array_size = 10000\n") == Room(35, 40)


@given(st.lists(st.tuples(st.sampled_from([None, 0, 1, 255]), st.text()), min_size=6, max_size=6))
def test_what_cannot_be_read_is_none_and_no_error(said: list[tuple[int | None, str]]) -> None:
    answers = [
        Answer(call.argv, code, out, "") for call, (code, out) in zip(PBS().room("me", "", ""), said, strict=True)
    ]
    assert PBS().read_room(answers) == Room()


def test_jobs_that_could_not_be_counted_leave_the_limit_out() -> None:
    calls = PBS().room("me", "workq", "")
    replies = [QUEUE.format(limits="    max_queued = [u:PBS_GENERIC=10],[o:PBS_ALL=12]\n"), SERVER.format(limits="")]
    answers = [Answer(call.argv, 0, out, "") for call, out in zip(calls, replies, strict=False)]
    answers += [Answer(call.argv, 255, "", "Connection refused") for call in calls[2:]]
    assert PBS().read_room(answers).jobs == 3


def test_gadi_says_what_it_mounts_and_who_pays() -> None:
    target = GadiTarget(project_cpu="ab12", storage="gdata/ab12+scratch/cd34")
    hpc = HPCJobRunner(target=target, work_root="/scratch/ab12/me")
    script = hpc.render(Command("/bin/true"), profile=ExecutionProfile())
    for line in ("#PBS -l storage=gdata/ab12+scratch/cd34", "#PBS -P ab12", "#PBS -q normal"):
        assert line in script.splitlines()
    assert GadiTarget().faults("gpu")
