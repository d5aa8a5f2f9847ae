"""What the solver says goes to dice.out; the job's own output, which Dagster shows, is for people."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dagster_hpc import ExecutionProfile, HPCJobRunner, JobFailed, JobTimedOut
from dagster_hpc.dice import DiceFailed, DiceSolver
from dagster_hpc.dice.job_script import payload
from tests.dice.golden import FOLDER, case
from tests.dice.test_solver import local_runner, problem, replay, solver

hpc = pytest.fixture(local_runner, name="hpc")

# The first lines of every Dice, from a real one; they are not in the golden excerpts.
BANNER = r"""
     ____  _
    |  _ \(_) ___ ___
    | | | | |/ __/ _ \
    |____/|_|\___\___|   v1.0

**************************************************************
Dice  Copyright (C) 2017  Sandeep Sharma

Author:       Sandeep Sharma
**************************************************************

User:             (null)
PID:              25543
Compilation Date: Nov 27 2026 21:52:07

**************************************************************
INPUT FILE
**************************************************************
0 2147483647
end
"""
TABLE = [
    "Iter Root       Eps1   #Var. Det.               Energy   #Davidson     Time(s)",
    "   0    0    2.15e+09         225        -8.8745316479          8        0.00",
    "Root             Energy     Time(s)",
    "   0       -8.8745316493        0.01",
]


def lines(job_folder: str, name: str) -> list[str]:
    return Path(job_folder, name).read_text().splitlines()


@pytest.mark.parametrize("isolation", ["none", "private"])
def test_the_banner_stays_out_of_the_jobs_output(hpc: HPCJobRunner, tmp_path: Path, isolation: str) -> None:
    (tmp_path / "banner").write_text(BANNER)
    dice = solver(hpc, tmp_path, f"cat {tmp_path}/banner; {replay('lih_sto3g')}; exit 1", isolation=isolation)

    (run,) = dice.runs([problem("lih_sto3g")[0]], *problem("lih_sto3g")[1:])

    folder = run.jobs[0].handle.work_dir
    assert lines(folder, "stdout.log") == TABLE
    assert Path(folder, "dice.out").read_text() == BANNER + case("lih_sto3g").stdout.read_text()
    assert run.jobs[0].exit_code == 1
    assert {check.name for check in run.result.checks if check.passed} >= {"davidson", "printed_energy"}


@pytest.mark.needs("mpi")
def test_of_several_ranks_the_first_one_speaks(hpc: HPCJobRunner, tmp_path: Path) -> None:
    dice = solver(hpc, tmp_path, f"echo hello; {replay('lih_sto3g')}; exit 0", isolation="private", profile="two-ranks")

    (run,) = dice.runs([problem("lih_sto3g")[0]], *problem("lih_sto3g")[1:])

    folder = run.jobs[0].handle.work_dir
    assert lines(folder, "stdout.log") == TABLE
    assert lines(folder, "dice.out").count("hello") == 1


def test_the_table_can_be_watched_while_dice_runs(hpc: HPCJobRunner, tmp_path: Path) -> None:
    half = f"head -n 5 {FOLDER}/lih_sto3g/dice.out; until grep -q 2.15e+09 stdout.log; do sleep 0.1; done"
    dice = solver(hpc, tmp_path, f"{half}; cp stdout.log {tmp_path}/seen; {replay('lih_sto3g')}")
    dice.solve(*problem("lih_sto3g"))
    assert TABLE[1] in (tmp_path / "seen").read_text().splitlines()


def test_where_there_is_no_answer_its_last_words_are_shown(hpc: HPCJobRunner, tmp_path: Path) -> None:
    dice = solver(hpc, tmp_path, f"seq 100; cat {FOLDER}/_failures/norb64_detlen2/dice.out; exit 1")

    with pytest.raises(DiceFailed, match="change DetLen"):
        dice.solve(*problem("lih_sto3g"))

    (row,) = hpc.jobs()
    said = lines(row.work_dir, "stdout.log")
    assert said[-2:] == ["100", "change DetLen in global.h to 3 and recompile "]
    assert len(said) == 20


@pytest.mark.parametrize(("how", "code"), [("kill -SEGV $$", 139), ("kill -KILL $$", 137), ("exit 3", 3)])
def test_the_exit_code_is_dices_own(hpc: HPCJobRunner, tmp_path: Path, how: str, code: int) -> None:
    dice = solver(hpc, tmp_path, f"echo the last words; {how}", max_retries=0, fallback=False)
    with pytest.raises(JobFailed) as caught:
        dice.solve(*problem("lih_sto3g"))
    assert caught.value.result.exit_code == code
    assert "the last words" in caught.value.result.stdout_tail


@pytest.mark.needs("mpi")
def test_a_rank_that_dies_ends_the_job(hpc: HPCJobRunner, tmp_path: Path) -> None:
    script = 'echo up; [ "$OMPI_COMM_WORLD_RANK" = 0 ] && exec sleep 60; sleep 0.5; kill -SEGV $$'
    dice = solver(hpc, tmp_path, script, isolation="private", profile="two-ranks", max_retries=0, fallback=False)
    with pytest.raises(JobFailed) as caught:
        dice.solve(*problem("lih_sto3g"))
    assert caught.value.result.exit_code == 139
    assert lines(caught.value.result.handle.work_dir, "dice.out") == ["up"]


@pytest.mark.parametrize("isolation", ["none", "private"])
def test_what_ends_the_job_lets_the_last_words_through(
    hpc: HPCJobRunner, tmp_path: Path, isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_BATCH_KILL_AFTER", "5")
    script = f"trap 'sleep 0.2; echo told; exit 143' TERM; touch {tmp_path}/up; while :; do sleep 0.1; done"
    dice = solver(hpc, tmp_path, script, isolation=isolation)
    for walltime in ("2", "10", "40"):  # on a busy machine it takes seconds until Dice is there to be ended
        with pytest.raises(JobTimedOut) as caught:
            dice.solve(*problem("lih_sto3g"), overrides={"walltime": walltime})
        if (tmp_path / "up").exists():
            break
    assert lines(caught.value.result.handle.work_dir, "dice.out") == ["told"]


def test_what_a_stopped_attempt_said_is_forgotten_when_it_starts_again(hpc: HPCJobRunner, tmp_path: Path) -> None:
    hpc.profiles["dice-mpi"] = ExecutionProfile(pre_commands=["echo of yesterday >dice.out"])
    dice = solver(hpc, tmp_path, f"{replay('lih_sto3g')}; exit 1")
    (run,) = dice.runs([problem("lih_sto3g")[0]], *problem("lih_sto3g")[1:])
    assert "of yesterday" not in lines(run.jobs[0].handle.work_dir, "dice.out")


# -- threads


@pytest.mark.parametrize(("threads", "expected"), [(None, "1"), (2, "2")])
def test_dice_has_one_thread_a_rank_unless_the_profile_says_more(
    hpc: HPCJobRunner, tmp_path: Path, threads: int | None, expected: str
) -> None:
    hpc.profiles["dice-mpi"] = ExecutionProfile(ompthreads=threads)
    dice = solver(hpc, tmp_path, f"echo threads $OMP_NUM_THREADS; {replay('lih_sto3g')}")
    (run,) = dice.runs([problem("lih_sto3g")[0]], *problem("lih_sto3g")[1:])
    assert f"threads {expected}" in lines(run.jobs[0].handle.work_dir, "dice.out")


def test_the_embedded_solver_is_told_no_number_of_threads(hpc: HPCJobRunner, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/bash\necho "threads ${{OMP_NUM_THREADS-all}}"\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    dice = DiceSolver(hpc=hpc, python=str(python))
    (run,) = dice.runs([problem("lih_sto3g")[0]], *problem("lih_sto3g")[1:])
    assert "threads all" in lines(run.jobs[0].handle.work_dir, "dice.out")
    assert "OMP_NUM_THREADS" not in payload(embedded=True)
