from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import LocalTarget
from dagster_hpc.checks import probes
from dagster_hpc.checks.clocks import compare_clocks
from tests.cli.terminal import Terminal
from tests.systems.slurm import SlurmCluster

Checks = dict[str, Mapping[str, str]]


def ad_hoc(kind: str, work_root: Path | str) -> list[str]:
    return ["doctor", "--target", kind, "--work-root", str(work_root)]


def checks(report: Any) -> Checks:
    return {check["check"]: check for check in report["checks"]}


def levels(report: Any) -> dict[str, str]:
    return {check["check"]: check["level"] for check in report["checks"]}


def location(folder: Path, target: str, profile: str = "", **runner: str) -> None:
    """A code location in this folder."""
    fields = "".join(f", {name}={value!r}" for name, value in runner.items())
    text = f"""\
        import dagster as dg
        from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget, SlurmTarget
        profiles = {{"mine": ExecutionProfile({profile})}}
        hpc = HPCJobRunner(target={target}, profiles=profiles, work_root={str(folder / "work")!r}{fields})
        defs = dg.Definitions(resources={{"hpc": hpc}})
        """
    (folder / "cluster_jobs.py").write_text(textwrap.dedent(text))


def test_a_laptop_is_healthy(terminal: Terminal) -> None:
    done = terminal.run_alone(*ad_hoc("local", terminal.folder / "work"))

    assert done.returncode == 0, done.stdout
    lines = [line.split()[0] for line in done.stdout.splitlines()[1:-1]]
    assert set(lines) == {"ok"}
    assert "\x1b" not in done.stdout
    assert not (terminal.folder / "work").exists()


def test_a_code_location_is_checked_with_its_profiles_and_programs(terminal: Terminal) -> None:
    spool = str(terminal.folder / "spool")
    target = f"LocalTarget(spool={spool!r}, executable_map={{'true': '/bin/true', 'gone': '/apps/gone'}})"
    location(terminal.folder, target, "launcher='mpiexec.hydra', walltime='00:01:00'")

    found = checks(terminal.json("doctor", "--module", "cluster_jobs", env={"PATH": "/nowhere:/bin"}))

    assert found["executable true"]["level"] == "ok"
    assert found["executable gone"]["level"] == "warn"
    assert found["profile mine"]["level"] == "warn"
    assert "mpiexec.hydra is not on PATH" in found["profile mine"]["sentence"]
    assert spool in found["local spool"]["sentence"]


def test_a_profile_that_makes_no_script_fails(terminal: Terminal) -> None:
    location(terminal.folder, "LocalTarget()", "walltime='soon', mpiprocs=4")

    finding = checks(terminal.json("doctor", "--module", "cluster_jobs", code=1))["profile mine"]

    assert finding["level"] == "fail"
    assert "'soon'" in finding["sentence"]
    assert "launcher 'single'" in finding["sentence"]


def test_a_template_that_is_missing_fails(terminal: Terminal) -> None:
    location(terminal.folder, "LocalTarget(template='/etc/nowhere/job.j2')")

    finding = checks(terminal.json("doctor", "--module", "cluster_jobs", code=1))["template"]

    assert finding["level"] == "fail"
    assert "/etc/nowhere/job.j2" in finding["sentence"]


def test_a_code_location_that_does_not_load_is_one_failed_check(terminal: Terminal) -> None:
    (terminal.folder / "cluster_jobs.py").write_text("import no_such_library\n")

    report = terminal.json("doctor", "--module", "cluster_jobs", code=1)

    assert report["healthy"] is False
    assert "no_such_library" in report["checks"][0]["sentence"]


def test_a_work_root_that_cannot_be_made_fails(terminal: Terminal) -> None:
    (terminal.folder / "file").touch()

    done = terminal.run(*ad_hoc("local", terminal.folder / "file" / "work"))

    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "FAIL" in line]
    assert "work_root" in line
    assert "To do: set work_root" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_work_root_of_somebody_else_fails(terminal: Terminal) -> None:
    folder = terminal.folder / "theirs"
    folder.mkdir(mode=0o555)

    assert levels(terminal.json(*ad_hoc("local", folder), code=1))["work_root"] == "fail"


@pytest.mark.parametrize("url", ["sqlite:////proc/nowhere/ledger.db", "postgresql://localhost:1/jobs"])
def test_a_ledger_that_cannot_be_used_fails(terminal: Terminal, url: str) -> None:
    location(terminal.folder, "LocalTarget()", ledger_url=url)

    report = terminal.json("doctor", "--module", "cluster_jobs", code=1)

    assert levels(report)["ledger"] == "fail"
    assert checks(report)["ledger"]["advice"]


def test_a_local_scheduler_whose_spool_cannot_be_made_fails(terminal: Terminal) -> None:
    (terminal.folder / "file").touch()
    location(terminal.folder, f"LocalTarget(spool={str(terminal.folder / 'file' / 'spool')!r})")

    assert levels(terminal.json("doctor", "--module", "cluster_jobs", code=1))["local spool"] == "fail"


def test_without_scheduler_commands_it_says_where_to_run(terminal: Terminal) -> None:
    report = terminal.json(*ad_hoc("slurm", terminal.folder), code=1, env={"PATH": str(terminal.folder)})

    found = checks(report)
    assert {name: found[name]["level"] for name in ("sbatch", "squeue", "scancel")} == dict.fromkeys(
        ("sbatch", "squeue", "scancel"), "fail"
    )
    assert found["sacct"]["level"] == "warn"
    assert "`sbatch` is not on the PATH" in found["sbatch"]["sentence"]
    assert "login node" in found["sbatch"]["advice"]


def test_a_work_root_below_tmp_is_no_place_for_a_cluster(terminal: Terminal) -> None:
    report = terminal.json(*ad_hoc("slurm", "/tmp/jobs"), code=1, env={"PATH": str(terminal.folder)})

    assert checks(report)["shared"]["level"] == "warn"
    assert "/tmp" in checks(report)["shared"]["sentence"]


@pytest.mark.parametrize(("behind_s", "level"), [(0.3, "ok"), (-1.9, "ok"), (90.0, "warn"), (-90.0, "warn")])
def test_clocks_may_differ_by_little(behind_s: float, level: str) -> None:
    finding = compare_clocks(behind_s, 2.0, "the file server's")

    assert finding.level == level
    if level == "warn":
        assert f"90 s {'behind' if behind_s > 0 else 'ahead of'}" in finding.sentence


@pytest.mark.parametrize(
    "words",
    [["--target", "local"], ["--work-root", "/tmp"], ["--target", "local", "--work-root", "/tmp", "--module", "x"]],
    ids=" ".join,
)
def test_half_a_target_is_wrong_usage(terminal: Terminal, words: list[str]) -> None:
    assert terminal.run("doctor", *words).returncode == 2


def test_an_unknown_target_suggests_the_nearest(terminal: Terminal) -> None:
    report = terminal.json(*ad_hoc("slrm", "/tmp"), code=1)

    assert "did you mean 'slurm'" in report["checks"][0]["sentence"]


def test_checks_of_a_local_target_ask_its_own_spool() -> None:
    (query, writable) = probes(LocalTarget(spool="/scratch/spool").scheduler, [], "me")

    assert "/scratch/spool" in query.call.argv
    assert "/scratch/spool" in writable.call.argv


@pytest.mark.needs("slurm")
def test_a_cluster_is_healthy_but_for_its_work_root(terminal: Terminal, slurm: SlurmCluster) -> None:
    target = f"SlurmTarget(queue_cpu='cpu', project_cpu={slurm.account!r})"
    location(terminal.folder, target, "walltime='1-00:00:00', launcher='srun'")

    report = terminal.json("doctor", "--module", "cluster_jobs", env=slurm.environment)

    assert {name for name, level in levels(report).items() if level != "ok"} <= {"shared"}
    found = checks(report)
    assert "accounting is on" in found["sacct"]["sentence"]
    assert "time limit 1-00:00:00" in found["partition"]["sentence"]
    assert found["scheduler clock"]["level"] == "ok"
    assert slurm.account in found["account"]["sentence"]


@pytest.mark.needs("slurm")
@pytest.mark.parametrize(
    ("target", "profile", "check", "words"),
    [
        ("SlurmTarget(queue_cpu='cpuu')", "", "partition", "did you mean 'cpu'"),
        ("SlurmTarget(queue_cpu='short')", "walltime='00:02:00'", "partition", "profile 'mine' asks for 00:02:00"),
        ("SlurmTarget(project_cpu='proj2')", "", "account", "did you mean 'proj1'"),
    ],
    ids=["unknown partition", "walltime over the limit", "unknown account"],
)
def test_what_slurm_would_refuse_fails(
    terminal: Terminal, slurm: SlurmCluster, target: str, profile: str, check: str, words: str
) -> None:
    location(terminal.folder, target, profile)

    report = terminal.json("doctor", "--module", "cluster_jobs", code=1, env=slurm.environment)

    assert checks(report)[check]["level"] == "fail"
    assert words in checks(report)[check]["sentence"]


@pytest.mark.needs("slurm")
def test_a_partition_that_is_down_is_a_warning(terminal: Terminal, slurm: SlurmCluster) -> None:
    location(terminal.folder, "SlurmTarget(queue_cpu='down')")

    report = terminal.json("doctor", "--module", "cluster_jobs", env=slurm.environment)

    assert checks(report)["partition"]["level"] == "warn"
    assert "is down" in checks(report)["partition"]["sentence"]


@pytest.mark.needs("slurm")
def test_accounting_off_is_a_warning_that_says_what_is_lost(
    terminal: Terminal, slurm_without_accounting: SlurmCluster
) -> None:
    report = terminal.json(*ad_hoc("slurm", terminal.folder), env=slurm_without_accounting.environment)

    finding = checks(report)["sacct"]
    assert finding["level"] == "warn"
    assert "memory peak" in finding["sentence"]
