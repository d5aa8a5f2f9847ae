"""Detached jobs that are tried again: the report follows the chain of attempts to its end, and is one."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from dagster_hpc import Command, JobResult, RetryRule, hpc_asset
from tests.detached.conftest import Lab

TWICE = [RetryRule(exit_codes=[75], count=2)]


def third_time_lucky(folder: Path) -> Command:
    """Ends with the code of a passing trouble, until it has been tried three times."""
    return Command.shell(f'echo >>{folder}/tries; [ "$(wc -l <{folder}/tries)" -ge 3 ] || exit 75; echo well', name="flaky")


def test_a_report_waits_for_the_last_attempt_and_tells_of_all(lab: Lab, tmp_path: Path) -> None:
    @hpc_asset(profile="small", detached=True, retry=TWICE)
    def flaky() -> Command:
        return third_time_lucky(tmp_path)

    lab.assets = [flaky]
    lab.launch()
    lab.settle()
    (made,) = lab.materializations("flaky")
    assert lab.failures("flaky") == []
    assert made.metadata["stdout_tail"].value == "```\nwell\n```"
    attempts = made.metadata["attempts"]
    assert isinstance(attempts, dg.TableMetadataValue)
    assert [record.data["state"] for record in attempts.records] == ["FAILED", "FAILED", "COMPLETED"]


def test_when_the_rules_are_spent_one_failure_is_told(lab: Lab) -> None:
    @hpc_asset(profile="small", detached=True, retry=TWICE)
    def hopeless() -> Command:
        return Command.shell("exit 75")

    lab.assets = [hopeless]
    lab.launch()
    lab.settle()
    (told,) = lab.failures("hopeless")
    assert told.metadata["state"].value == "FAILED"
    assert len(lab.hpc.jobs()) == 3


def test_who_joins_a_later_attempt_adds_no_second_report(lab: Lab, tmp_path: Path) -> None:
    @hpc_asset(profile="small", detached=True, retry=TWICE)
    def flaky() -> Command:
        return Command.shell(
            f"echo >>{tmp_path}/tries; [ $(wc -l <{tmp_path}/tries) -ge 2 ] || exit 75; "
            f"until [ -e {tmp_path}/gate ]; do sleep 0.1; done"
        )

    lab.assets = [flaky]
    lab.launch()
    lab.look_until(lambda: len(lab.hpc.jobs()) == 2)
    lab.launch()
    assert len(lab.owed()) == 1
    (tmp_path / "gate").touch()
    lab.settle()
    assert len(lab.materializations("flaky")) == 1
    assert len(lab.hpc.jobs()) == 2


def test_a_list_of_one_command_is_a_list(lab: Lab) -> None:
    @hpc_asset(profile="small", detached=True)
    def lines() -> list[Command]:
        return [Command.shell("echo only")]

    @lines.collect
    def read(results: list[JobResult]) -> list[str]:
        return [result.stdout_tail for result in results]

    @dg.asset
    def after(lines: list[str]) -> str:
        return ",".join(lines)

    lab.assets = [lines, after]
    lab.launch("lines")
    lab.settle()
    assert lab.launch("after").output_for_node("after") == "only"
