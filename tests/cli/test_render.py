from __future__ import annotations

import pytest

from tests.cli.terminal import Terminal

LOCATION = """\
import dagster as dg
from dagster_hpc import ExecutionProfile, HPCJobRunner, SlurmTarget

target = SlurmTarget.configure_at_launch(queue_cpu="regular", executable_map={"count": "/apps/count"})

@dg.definitions
def defs():
    profile = ExecutionProfile(num_nodes=2, walltime="01:00:00", launcher="srun")
    hpc = HPCJobRunner(target=target, profiles={"two": profile}, work_root=dg.EnvVar("SCRATCH"))
    return dg.Definitions(resources={"hpc": hpc, "hpc_target": target, "other": object()})
"""


@pytest.fixture
def location(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """In a project's folder, where `dagster dev` finds the code location."""
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    (terminal.folder / "cluster_jobs.py").write_text(LOCATION)
    (terminal.folder / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "cluster_jobs"\n')
    return terminal


def test_prints_the_script_and_submits_nothing(location: Terminal) -> None:
    done = location.run_alone("render", "--profile", "two", "--", "count", "--input", "a b")

    assert done.returncode == 0, done.stderr
    assert "#SBATCH --partition=regular\n" in done.stdout
    assert "#SBATCH --nodes=2\n" in done.stdout
    assert "/scratch/me/count/00000000" in done.stdout
    assert "/apps/count --input 'a b'" in done.stdout
    assert not list(location.folder.glob("ledger.db*"))


def test_overrides_are_read_as_the_fields_want_them(location: Terminal) -> None:
    overrides = [
        "walltime=00:10:00",
        "num_nodes=3",
        "exclusive=true",
        "modules=gcc,openmpi",
        'mpi_options=["-m", "a,b"]',
    ]
    words = [word for override in overrides for word in ("--override", override)]

    script = location.run("render", "--profile", "two", *words, "--", "count").stdout

    for line in ("#SBATCH --time=00:10:00", "#SBATCH --nodes=3", "#SBATCH --exclusive", "gcc", "openmpi", "-m a,b"):
        assert line in script


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--profile", "twoo", "--", "count"], "did you mean 'two'"),
        (["--profile", "two", "--override", "walltim=1h", "--", "count"], "did you mean 'walltime'"),
        (["--profile", "two", "--override", "walltime", "--", "count"], "is not FIELD=VALUE"),
        (["--profile", "two", "--override", "modules=[gcc", "--", "count"], "looks like JSON"),
        (["--profile", "two", "--", "coumt"], "did you mean 'count'"),
        (["--profile", "two", "--runner", "hcp", "--", "count"], "did you mean 'hpc'"),
        (["--profile", "two", "--module", "nowhere", "--", "count"], "nowhere cannot be loaded"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_wrong_is_said_without_a_traceback(location: Terminal, words: list[str], hint: str) -> None:
    done = location.run("render", *words)

    assert (done.returncode, done.stdout) == (1, "")
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unset_variable_is_named(location: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCRATCH")

    done = location.run("render", "--profile", "two", "--", "count")

    assert done.returncode == 1
    assert '"SCRATCH" which is not set' in done.stderr


def test_without_a_project_it_says_how_to_name_one(terminal: Terminal) -> None:
    done = terminal.run("render", "--profile", "two", "--", "count")

    assert done.returncode == 1
    assert "give --module" in done.stderr
