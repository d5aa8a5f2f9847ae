"""Many runs of one command: as an array job, or as single jobs where a system has no arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dagster_hpc import Command, ConfigurationError, JobResult, JobState
from dagster_hpc.engine.job import JobSpec
from tests.contract.site import Site, opened
from tests.contract.systems.base import System
from tests.faults.place import PLAIN, eventually, run_failing
from tests.faults.test_requests import WORDS

ARGUMENTS = [*WORDS.values(), "fail", "last"]
SPANS = 'echo $EPOCHREALTIME >span; printf %s "$1" >seen; cat ../shared; [ "$1" != fail ] || exit 3'


@pytest.fixture(scope="module")
def mapped(system: System) -> Iterator[list[JobResult]]:
    with opened(system) as site:
        command = Command.shell(SPANS, name="many", inputs={"shared": "to all"})
        yield site.hpc.map(command, [[word] for word in ARGUMENTS], profile=PLAIN, outputs={"seen": "seen"})


def test_the_results_come_in_order_one_for_each(mapped: list[JobResult]) -> None:
    assert [result.index for result in mapped] == list(range(len(ARGUMENTS)))


def test_one_that_fails_fails_alone(mapped: list[JobResult]) -> None:
    failed = [result for result in mapped if not result.succeeded]
    assert [(result.index, result.state, result.exit_code) for result in failed] == [
        (ARGUMENTS.index("fail"), JobState.FAILED, 3)
    ]


def test_each_gets_its_argument_byte_for_byte(mapped: list[JobResult]) -> None:
    for result, word in zip(mapped, ARGUMENTS, strict=True):
        assert Path(result.handle.work_dir, "seen").read_bytes() == os.fsencode(word)


def test_all_read_the_same_inputs(mapped: list[JobResult]) -> None:
    assert {result.stdout_tail for result in mapped} == {"to all"}


def test_each_has_an_id_of_its_own(mapped: list[JobResult]) -> None:
    assert len({result.handle.job_id for result in mapped}) == len(ARGUMENTS)


def test_each_has_figures_of_its_own(mapped: list[JobResult]) -> None:
    assert all(result.metrics.elapsed_s is not None for result in mapped)


def test_an_array_of_one_is_an_array(site: Site) -> None:
    command = Command.shell('cat ../shared; echo "$1"', inputs={"shared": "to all\n"})
    (result,) = site.hpc.map(command, [["only"]], profile=PLAIN)
    assert (result.index, result.stdout_tail) == (0, "to all\nonly")


def test_a_system_without_arrays_says_so(system: System) -> None:
    scheduler = system.target().scheduler
    said = scheduler.unsupported(JobSpec(name="many", elements=(("a",), ("b",))))
    assert bool(said) == ("array" not in system.can)
    assert all(len(sentence.split()) > 3 for sentence in said)


def test_no_more_run_at_once_than_are_asked_for(site: Site) -> None:
    command = Command.shell("echo $EPOCHREALTIME; sleep 1; echo $EPOCHREALTIME", name="limited")

    def run() -> list[JobResult]:
        return site.hpc.map(command, [[]] * 4, profile=PLAIN, max_running=2)

    if "array" in site.system.can and "array limit" not in site.system.can:
        error = run_failing(run, ConfigurationError)
        assert error.faults == [site.scheduler.lacks["array limit"]]
        assert site.rows() == []
        return
    results = run()
    assert all(result.succeeded for result in results)
    began_and_ended = [tuple(map(float, result.stdout_tail.split())) for result in results]
    for began, _ in began_and_ended:
        assert sum(start <= began < end for start, end in began_and_ended) <= 2


def test_one_element_is_cancelled_and_the_others_go_on(site: Site) -> None:
    gate = site.gate()
    command = Command.shell(f"touch began; {gate.closed}", name="some")
    with ThreadPoolExecutor() as threads:
        run = threads.submit(site.hpc.map, command, [["a"], ["b"], ["c"]], profile=PLAIN)
        try:
            eventually(lambda: len(site.rows(state=JobState.RUNNING)) == 3, "all three run")
            second = sorted(site.rows(), key=lambda row: (row.created_at, row.array_index or 0))[1]
            site.hpc.cancel(second.handle())
        finally:
            gate.open()
        states = [result.state for result in run.result(timeout=120)]
    assert states == [JobState.COMPLETED, JobState.CANCELLED, JobState.COMPLETED]


def test_an_array_is_cancelled_in_one_word(site: Site) -> None:
    """The id of an array stands for all its elements: nobody has to name them one by one."""
    if "array" not in site.system.can:
        pytest.skip(f"{site.scheduler.kind} has no arrays")
    gate = site.gate()
    host = site.hpc.target.engine_target().host
    command = Command.shell(gate.closed, name="all")
    with ThreadPoolExecutor() as threads:
        run = threads.submit(site.hpc.map, command, [["a"], ["b"], ["c"]], profile=PLAIN)
        try:
            eventually(lambda: len(site.rows(state=JobState.RUNNING)) == 3, "all three run")
            (array,) = {site.scheduler.array_id(row.job_id or "") for row in site.rows()}
            site.scheduler.read_cancel(host.run(site.scheduler.cancel([array])))
            results = run.result(timeout=120)  # while the gate is closed
        finally:
            gate.open()
    assert not any(result.succeeded for result in results)


@pytest.fixture(scope="module")
def different(system: System) -> Iterator[list[JobResult]]:
    """Three programs that have nothing in common, as one array job where the system has arrays."""
    with opened(system) as site:
        commands = [
            Command.shell('cat own; printf %s "$1" >seen', name="many", args=["it's $one"], inputs={"own": "mine"}),
            Command("/bin/cat", name="many", stdin="from stdin\n"),
            Command("/bin/sh", name="many", args=["-c", "cat; exit 4"]),
        ]
        handles = site.hpc.submit_all(commands, profile=PLAIN)
        yield site.hpc.wait_all(handles)


def test_commands_that_differ_are_elements_of_one_array(different: list[JobResult], system: System) -> None:
    assert [(result.state, result.exit_code) for result in different] == [
        (JobState.COMPLETED, 0), (JobState.COMPLETED, 0), (JobState.FAILED, 4),
    ]  # fmt: skip
    scheduler = system.target().scheduler
    arrays = {scheduler.array_id(result.handle.job_id or "") for result in different}
    assert len(arrays) == (1 if "array" in system.can else 3)


def test_each_command_has_its_own_inputs_arguments_and_stdin(different: list[JobResult]) -> None:
    assert [result.stdout_tail for result in different] == ["mine", "from stdin", ""]
    assert Path(different[0].handle.work_dir, "seen").read_text() == "it's $one"
