"""Chains of attempts on a real Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, JobState, Resume, RetryRule, SlurmTarget
from tests.systems.slurm import SlurmCluster

pytestmark = pytest.mark.needs("slurm")


@pytest.fixture
def on_slurm(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HPCJobRunner:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    return HPCJobRunner(
        target=SlurmTarget(poll_interval=1.0),
        profiles={"small": ExecutionProfile(walltime="00:02:00", memory_per_node="50M")},
        work_root=str(tmp_path / "work"),
        ledger_url=f"sqlite:///{tmp_path}/ledger.db",
    )


def test_an_exit_code_is_tried_again_on_another_node(on_slurm: HPCJobRunner, tmp_path: Path) -> None:
    command = Command.shell(f"echo $SLURMD_NODENAME; test -e {tmp_path}/mark || {{ touch {tmp_path}/mark; exit 7; }}")
    result = on_slurm.run(command, profile="small", retry=[RetryRule(exit_codes=[7], elsewhere=True)])
    first, second = result.attempts
    assert first.metrics.node_list != second.metrics.node_list
    assert f"on another node than {first.metrics.node_list}" in first.reason
    assert f"#SBATCH --exclude={first.metrics.node_list}" in result.script


def test_a_job_that_ran_into_its_walltime_gets_more(on_slurm: HPCJobRunner) -> None:
    """Slurm counts whole minutes, and ends a job some seconds late."""
    rule = RetryRule(on=["TIMEOUT"], walltime=2)
    result = on_slurm.run(Command.shell("sleep 100"), profile="small", overrides={"walltime": "1m"}, retry=[rule])
    assert [(one.state, one.walltime_s) for one in result.attempts] == [(JobState.TIMEOUT, 60), (JobState.COMPLETED, 120)]


def test_a_job_goes_on_in_its_directory_until_it_is_finished(on_slurm: HPCJobRunner) -> None:
    counts = "n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) >n; [ $n = 2 ] || exit 85"
    result = on_slurm.run(
        Command.shell(counts), profile="small", overrides={"signal_before_end": "USR1@60"}, resume=Resume(exit_code=85),
        outputs={"n": "n"},
    )  # fmt: skip
    assert Path(result.outputs["n"]).read_text() == "3\n"
    assert [one.exit_code for one in result.attempts] == [85, 85, 0]
