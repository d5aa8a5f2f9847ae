"""`dagster-hpc site`, as a person uses it on a machine without a scheduler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dagster_hpc import Command, JobState, Site
from tests.cli.terminal import Terminal
from tests.cli.test_startup import WITHOUT

SITE = """\
work_root = "~/jobs"
[targets.here]
kind = "local"
[targets.here.limits."*"]
max_walltime = "01:00:00"
[profiles.small]
walltime = "00:10:00"
[profiles.long]
walltime = "02:00:00"
"""
SCHEDULERS = ("sbatch", "sinfo", "squeue", "scancel", "scontrol", "sacct", "sacctmgr", "qsub", "qstat", "qdel", "qconf")


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """In an empty project, on a machine that has everything but the commands of a scheduler."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for program in Path("/usr/bin").iterdir():
        if program.name not in SCHEDULERS:
            (programs / program.name).symlink_to(program)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{programs}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    return Terminal(tmp_path)


def test_without_a_scheduler_the_first_file_is_for_this_machine_and_works(terminal: Terminal) -> None:
    done = terminal.run("site", "new", "site.toml")
    assert (done.returncode, "wrote site.toml" in done.stderr) == (0, True), done.stderr

    assert terminal.run("site", "check").returncode == 0, terminal.run("site", "check").stdout
    hpc = Site.load().runner()
    assert hpc.target.scheduler.kind == "local"
    assert hpc.run(Command("/bin/bash", args=["-c", "true"]), profile="small").state is JobState.COMPLETED


def test_a_file_that_is_there_is_not_written_over(terminal: Terminal) -> None:
    Path("site.toml").write_text(SITE)

    done = terminal.run("site", "new", "site.toml")

    assert done.returncode == 1
    assert "site.toml exists already" in done.stderr
    assert Path("site.toml").read_text() == SITE


def test_check_tells_every_mistake_with_its_line(terminal: Terminal) -> None:
    Path("site.toml").write_text(SITE + "waltime = 1\nlauncher = 'moon'\n")

    done = terminal.run("site", "check")

    assert done.returncode == 1
    assert "FAIL  site.toml:10: a profile has no key 'waltime': did you mean 'walltime'?" in done.stdout
    assert "FAIL  site.toml:11: launcher: input should be 'single'" in done.stdout
    assert "2 checks: 2 failed" in done.stdout


def test_check_tries_every_profile_on_every_target_against_the_limits(terminal: Terminal) -> None:
    Path("site.toml").write_text(SITE + '[targets.far]\nkind = "slurm"\n')

    told = terminal.json("site", "check", code=1)["checks"]

    (failed,) = (each for each in told if each["level"] == "fail")
    assert (failed["about"], failed["check"]) == ("target here", "profile long (site.toml:8)")
    assert "the default queue allows at most 01:00:00 (max_walltime, set in site.toml:5)" in failed["sentence"]
    (far,) = (each for each in told if each["about"] == "target far" and each["check"] == "scheduler")
    assert "not on this machine" in far["sentence"]


def test_check_warns_of_a_target_that_cannot_be_used_from_here(terminal: Terminal) -> None:
    Path("site.toml").write_text(
        SITE.replace("02:00", "01:00") + '[targets.far]\nkind = "slurm"\nwork_root = "$NOWHERE/jobs"\n'
    )

    done = terminal.run("site", "check")

    assert done.returncode == 0, done.stdout
    assert "warn  site.toml:12: '$NOWHERE/jobs' names $NOWHERE, which is not set here." in done.stdout


def test_check_warns_of_a_variable_that_nobody_reads(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("site.toml").write_text(SITE.replace("02:00", "01:00"))
    monkeypatch.setenv("DAGSTER_HPC_COLOUR", "red")

    done = terminal.run("site", "check")

    assert (done.returncode, "warn  variable: $DAGSTER_HPC_COLOUR is set" in done.stdout) == (0, True), done.stdout


def test_show_prints_all_files_together_and_where_each_value_is_from(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "apps.toml").write_text(SITE)
    monkeypatch.setenv("DAGSTER_HPC_SITE", str(tmp_path / "apps.toml"))
    monkeypatch.setenv("DAGSTER_HPC_WALLTIME", "00:01:00")
    Path("site.toml").write_text("[profiles.small]\nwalltime = '00:20:00'\n")

    shown, with_origin = terminal.run("site", "show"), terminal.run("site", "show", "--origin").stdout

    assert '[profiles.small]\nwalltime = "00:20:00"\n' in shown.stdout
    assert "DAGSTER_HPC_WALLTIME=00:01:00 goes before this" in shown.stderr
    assert 'walltime = "00:20:00"  # site.toml:2' in with_origin
    assert 'kind = "local"  # apps.toml:3' in with_origin
    assert terminal.json("site", "show", "--origin")["origins"]["profiles.small.walltime"] == "site.toml:2"
    assert terminal.json("site", "show")["profiles"]["long"] == {"walltime": "02:00:00"}


def test_import_prints_a_site_and_tells_what_has_no_place(terminal: Terminal) -> None:
    Path("old.toml").write_text('hpc_target = "miyabi"\nproject = "ab12"\nqueue = "regular-c"\nshots = 3\n')

    done = terminal.run("site", "import", "old.toml")

    assert 'queue_cpu = "regular-c"' in done.stdout
    assert done.stderr == "not taken over: old: shots\n"


@pytest.mark.parametrize("words", [["show"], ["new"], ["import", "old.toml"]], ids=" ".join)
def test_only_check_imports_dagster(terminal: Terminal, words: list[str]) -> None:
    Path("site.toml").write_text(SITE)
    Path("old.toml").write_text('hpc_target = "miyabi"\nqueue_cpu = "regular-c"\n')
    program = WITHOUT.format(heavy=("dagster", "pydantic", "jinja2"), argv=["site", *words])

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=os.environ)

    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr


@pytest.mark.needs("modules")
def test_the_first_file_names_the_mpi_that_modules_bring(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("openmpi/4.1.6", "gcc/12", "intel-mpi/2021"):
        (tmp_path / "modules" / name).parent.mkdir(parents=True)
        (tmp_path / "modules" / name).write_text("#%Module1.0\n")
    monkeypatch.setenv("MODULEPATH", str(tmp_path / "modules"))

    assert '# modules = ["intel-mpi/2021"]  # or openmpi/4.1.6\n' in terminal.run("site", "new").stdout
