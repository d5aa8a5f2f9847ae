"""What doctor asks of PJM, and what it makes of the answers."""

from __future__ import annotations

import pytest

from dagster_hpc import ExecutionProfile, FugakuTarget, HPCJobRunner
from dagster_hpc.checks import probes
from dagster_hpc.checks.base import Demand, Finding
from dagster_hpc.cli.examine import examine
from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.pjm.requests import PJM, PJMWithoutBulk
from tests.transcripts import transcript

PJM_ = PJM()
SMALL = Demand("small", "hp200999", {"p": JobSpec(name="x", walltime_s=3600, nodes=12)})


def answer(name: str) -> Answer:
    return transcript("pjm", name)


def finding(
    probe: str, out: str = "", err: str = "", code: int = 0, demand: Demand = SMALL, pjm: PJM = PJM_
) -> Finding:
    found = next(each for each in probes(pjm, [demand], "me") if each.name == probe)
    return found.read(Answer(found.call.argv, code, out, err))


def test_it_asks_whether_bulk_jobs_are_permitted() -> None:
    assert finding("bulk jobs", "  pjsub-bulk   enable\n").level == "ok"
    assert "600 elements" in finding("bulk jobs", answer("acl_small").stdout).sentence
    assert "not permitted" in finding("bulk jobs", "  pjsub-bulk   disable\n").sentence
    assert "bulk_jobs=False" in finding("bulk jobs", "  pjsub-bulk   disable\n").advice
    assert finding("bulk jobs", "something else\n").level == "warn"
    assert finding("bulk jobs", "", "[ERR.] PJM 0090 pjacl Cannot connect\n", 1).level == "warn"
    assert finding("bulk jobs", "  pjsub-bulk   disable\n", pjm=PJMWithoutBulk()).level == "ok"


def test_it_sees_whether_pjm_answers_and_has_the_resource_group() -> None:
    assert finding("pjstat", "", answer("queue_unknown_option").stderr, 2).level == "ok"
    assert finding("pjstat", "", answer("queue_unreachable").stderr, 1).level == "fail"
    assert finding("resource group", "RSCGRP\nlarge small int\n").level == "ok"
    assert finding("resource group", "RSCGRP\nlarge small-s int\n").level == "warn"
    assert finding("pjsub", "/usr/bin/pjsub\n").level == "ok"
    assert finding("pjsub", "", "", 1).level == "fail"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("queue_head_only", "'|'"),
        ("comma_queue", "','"),
        ("ignored_options", "does not heed"),
        ("queue_empty", "lists no job of yours"),
    ],
)
def test_it_says_in_which_form_pjstat_answers(name: str, words: str) -> None:
    found = finding("pjstat", answer(name).stdout)
    assert (found.level, words in found.sentence) == ("ok", True)


def test_it_says_whether_the_history_shows_anything() -> None:
    assert "3 of your jobs" in finding("history", answer("comma_history").stdout).sentence
    assert "pjstat -s" in finding("history", "H,JOB_ID,ST\n").sentence
    assert finding("history", "", answer("queue_unreachable").stderr, 1).level == "warn"


def sized(walltime_s: int, nodes: int, project: str = "hp200999") -> Finding:
    demand = Demand("small", project, {"p": JobSpec(name="x", walltime_s=walltime_s, nodes=nodes)})
    return finding("limits of a job", answer("acl_small").stdout, demand=demand)


def test_a_profile_that_the_resource_group_can_never_take_fails() -> None:
    assert sized(72 * 3600, 384).sentence == "small takes 1 to 384 nodes, 72:00:00"
    assert "asks for 73:00:00" in sized(73 * 3600, 12).sentence
    assert "asks for 385 nodes" in sized(3600, 385).sentence
    assert sized(3600, 385).level == "fail"


def test_a_group_that_may_not_submit_is_told() -> None:
    found = sized(3600, 12, "fugaku")
    assert found.level == "fail"
    assert "may submit no jobs" in found.sentence


def test_what_pjacl_says_in_other_words_forbids_nothing() -> None:
    assert "not understood" in finding("limits of a job", "something else\n").sentence
    assert finding("limits of a job", "", "[ERR.] PJM 0090 pjacl Cannot connect\n", 1).level == "warn"
    unlimited = "elapse= unlimited\nnode= 1 unlimited\nelapse= 00:00:01\n"
    assert finding("limits of a job", unlimited).level == "warn"


def test_it_says_for_how_many_jobs_there_is_room() -> None:
    demand = Demand("small", "ra010014")
    found = finding("room", answer("limits").stdout, demand=demand)
    assert "room for 993 jobs, of an array 1000 elements" in found.sentence
    full = answer("limits").stdout.replace(" 1000 ", "    7 ")
    assert finding("room", full, demand=demand).level == "warn"
    assert "any number" in finding("room", "").sentence
    assert finding("room", "", "[ERR.] PJM 0090 pjstat Cannot connect", 1).level == "warn"


def test_a_work_root_that_fugakus_nodes_do_not_see_is_told() -> None:
    hpc = HPCJobRunner(
        target=FugakuTarget(project_cpu="hp"), profiles={"p": ExecutionProfile()}, work_root="/vol0009/x"
    )
    found = {check.name: check.finding for check in examine(hpc)}
    assert found["profile p"].level == "fail"
    assert "add /vol0009 to gfscache" in found["profile p"].sentence
