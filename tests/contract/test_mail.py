"""The mails that schedulers send themselves: in each system's words, taken by real ones, and no part of the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import (
    Command,
    ConfigurationError,
    ExecutionProfile,
    HPCJobRunner,
    HPCTarget,
    LocalTarget,
    SGETarget,
    SlurmTarget,
)
from dagster_hpc.resources.resolve import resolve
from tests.contract.test_directives import TARGETS, render
from tests.systems.sge import GridEngine
from tests.systems.slurm import SlurmCluster

ME = "me@example.org"
ALL = ["begin", "end", "fail"]
WORDS: dict[str, tuple[list[str], list[str]]] = {  # for all three, and for a failure alone
    "slurm": ([f"#SBATCH --mail-user={ME}", "#SBATCH --mail-type=BEGIN,END,FAIL"], ["#SBATCH --mail-type=FAIL"]),
    "pbs": ([f"#PBS -M {ME}", "#PBS -m bea"], ["#PBS -m a"]),
    "miyabi": ([f"#PBS -M {ME}", "#PBS -m bea"], ["#PBS -m a"]),
    "torque": ([f"#PBS -M {ME}", "#PBS -m bea"], ["#PBS -m a"]),
    "sge": ([f"#$ -M {ME}", "#$ -m bea"], ["#$ -m a"]),
    "lsf": ([f'#BSUB -u "{ME}"', "#BSUB -B", "#BSUB -N"], ["#BSUB -N"]),
    "pjm": ([f'#PJM --mail-list "{ME}"', "#PJM -m b,e"], ["#PJM -m e"]),
}


@pytest.mark.parametrize("name", WORDS)
def test_each_system_is_told_in_its_own_words(name: str) -> None:
    everything, failures = WORDS[name]
    script = render(TARGETS[name], ExecutionProfile(mail_to=ME, mail_on=ALL)).splitlines()
    assert [line for line in everything if line not in script] == []
    script = render(TARGETS[name], ExecutionProfile(mail_to=ME, mail_on=["fail"])).splitlines()
    assert [line for line in failures if line not in script] == []
    assert "#BSUB -B" not in script


@pytest.mark.parametrize("name", TARGETS)
def test_nobody_is_written_to_who_did_not_ask_for_it(name: str) -> None:
    plain = render(TARGETS[name], ExecutionProfile())
    assert render(TARGETS[name], ExecutionProfile(mail_on=ALL)) == plain
    assert "mail" not in plain.lower()


def test_on_the_local_target_the_job_itself_says_that_nobody_is_written_to() -> None:
    script = render(LocalTarget(), ExecutionProfile(mail_to=ME))
    assert 'echo "dagster_hpc: the local scheduler has no mail; this job runs without" >&2' in script


@pytest.mark.parametrize("address", ["me@example.org, you@example.org", "me me", "a\n#SBATCH --exclusive", "$(id)", ""])
def test_an_address_is_one_word(address: str) -> None:
    with pytest.raises(ConfigurationError, match="mail_to"):
        render(TARGETS["slurm"], ExecutionProfile(mail_to=address))


def test_who_gets_the_mail_is_no_part_of_the_work() -> None:
    def fingerprint(**fields: Any) -> str:
        spec = resolve(Command("/apps/program"), ExecutionProfile(**fields), TARGETS["slurm"])
        return spec.fingerprint("slurm", {})

    assert fingerprint() == fingerprint(mail_to=ME, mail_on=["end"])
    assert fingerprint() != fingerprint(walltime="00:06:00")


def runs_with_mail(target: HPCTarget, work: Path, folder: Path) -> None:
    hpc = HPCJobRunner(
        target=target, profiles={"small": ExecutionProfile(mail_to="root@localhost", mail_on=ALL)},
        work_root=str(work), ledger_url=f"sqlite:///{folder}/ledger.db",
    )  # fmt: skip
    assert hpc.run(Command.shell("true", name="mailed"), profile="small").succeeded


@pytest.mark.needs("slurm")
def test_a_real_slurm_takes_it(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    runs_with_mail(SlurmTarget(project_cpu=slurm.account, poll_interval=1.0), slurm.folder / "mail", tmp_path)


@pytest.mark.needs("sge")
def test_a_real_grid_engine_takes_it(sge: GridEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in sge.environment.items():
        monkeypatch.setenv(name, value)
    runs_with_mail(SGETarget(poll_interval=0.5), sge.folder / "mail", tmp_path)
