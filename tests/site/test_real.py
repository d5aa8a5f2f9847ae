"""A first file asked from a real scheduler: it is healthy as it is, and a job runs with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_hpc import Command, ConfigurationError, HPCJobRunner, JobState, Site
from tests.cli.terminal import Terminal
from tests.systems.sge import GridEngine
from tests.systems.slurm import SlurmCluster


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    terminal = Terminal(tmp_path)
    yield terminal
    for live in terminal.hpc.jobs(live=True):
        terminal.hpc.cancel(live.handle())


def runner_of_new_file(project: Terminal) -> HPCJobRunner:
    """`site new`, `site check`, and the runner that code would take."""
    new = project.run("site", "new", "site.toml", "--work-root", str(project.folder / "work"))
    assert new.returncode == 0, new.stderr
    check = project.run("site", "check")
    assert check.returncode == 0, f"{Path('site.toml').read_text()}\n{check.stdout}{check.stderr}"
    project.hpc = Site.load(environ={"DAGSTER_HPC_LEDGER_URL": project.url, "DAGSTER_HPC_POLL_INTERVAL": "0.5"}).runner()
    return project.hpc


@pytest.mark.needs("slurm")
def test_a_first_file_from_slurm_works(
    project: Terminal, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)

    hpc = runner_of_new_file(project)

    assert (hpc.target.queue_cpu, hpc.target.queue_gpu) == ("cpu", "gpu")
    assert hpc.target.project_cpu == slurm.account
    assert hpc.target.limits["cpu"].max_nodes == 3
    assert hpc.run(Command("/bin/hostname"), profile="small").state is JobState.COMPLETED
    assert hpc.run(Command("/bin/echo", args=["rank"]), profile="mpi").stdout_tail.count("rank") == 2
    with pytest.raises(ConfigurationError, match=r"queue cpu allows at most 3 \(max_nodes, set in site.toml:"):
        hpc.submit(Command("/bin/hostname"), profile="mpi", overrides={"num_nodes": 5})


@pytest.mark.needs("slurm")
def test_limits_that_slurm_has_no_more_are_told(
    project: Terminal, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    Path("site.toml").write_text(
        f'work_root = "{project.folder}"\n[targets.lab]\nkind = "slurm"\nqueue_cpu = "cpu"\n'
        "[targets.lab.limits.cpu]\nmax_nodes = 400\n[targets.lab.limits.cpuu]\nmax_nodes = 1\n"
    )

    told = project.run("site", "check").stdout

    assert "limits cpu: max_nodes is 400, and the scheduler allows 3. To do: correct site.toml:6" in told
    assert "limits cpuu: the scheduler has no queue 'cpuu': did you mean 'cpu'?" in told


@pytest.mark.needs("sge")
def test_a_first_file_from_grid_engine_works(
    project: Terminal, sge: GridEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    for name, value in sge.environment.items():
        monkeypatch.setenv(name, value)

    hpc = runner_of_new_file(project)

    assert hpc.target.queue_cpu == "all.q"
    assert hpc.target.limits["short.q"].max_walltime == "00:01:00"
    assert getattr(hpc.target, "parallel_environment") == "smp"  # noqa: B009 - of SGETarget only
    assert hpc.run(Command("/bin/hostname"), profile="small").state is JobState.COMPLETED
    assert hpc.run(Command("/bin/hostname"), profile="threads").state is JobState.COMPLETED
