"""Dice as jobs: what is believed, what is tried again, who takes over. The Dice of these tests replays golden files."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagster_hpc import (
    ConfigurationError,
    ExecutionProfile,
    HPCJobRunner,
    JobFailed,
    JobState,
    JobTimedOut,
    LocalTarget,
)
from dagster_hpc.dice import DiceFailed, DiceResultInvalid, DiceSolver, EmbeddedSolver
from dagster_hpc.dice.layout import ALPHA, BETA
from dagster_hpc.electrons.determinants import decode, integers_of
from dagster_hpc.electrons.fcidump import read_fcidump
from dagster_hpc.engine.schedulers.local.requests import Local
from dagster_hpc.subspace import Problem, SubspacesUnanswered
from tests.dice.golden import FOLDER, case


def local_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HPCJobRunner]:
    """The embedded scheduler with a spool of its own; whatever still runs at the end is cancelled."""
    for name, value in {"KILL_AFTER": "0.3", "POLL": "0.5", "SAMPLE": "0.1", "IDLE": "0.5"}.items():
        monkeypatch.setenv(f"LOCAL_BATCH_{name}", value)
    runner = HPCJobRunner(
        target=LocalTarget(poll_interval=0.3, spool=str(tmp_path / "spool"), executable_map={}),
        profiles={
            "dice-mpi": ExecutionProfile(walltime="00:02:00"),
            "two-ranks": ExecutionProfile(launcher="mpirun", mpiprocs=2),
        },
        work_root=str(tmp_path / "jobs"),
        ledger_url=f"sqlite:///{tmp_path}/ledger.db",
    )
    yield runner
    live = [row.job_id for row in runner.jobs(live=True) if row.job_id]
    if live:
        cancel = [sys.executable, "-m", "dagster_hpc.local_batch", "cancel", "--spool", str(tmp_path / "spool")]
        subprocess.run([*cancel, *live], check=True)


hpc = pytest.fixture(local_runner, name="hpc")
EMBEDDED = f"{sys.executable} -m dagster_hpc.dice.pyscf_solver"


def problem(name: str) -> tuple[Any, ...]:
    """What `solve` takes, from the input files of a golden run."""
    golden = case(name)
    alpha, beta = (
        integers_of(decode((golden.folder / file).read_bytes(), golden.norb), golden.norb) for file in (ALPHA, BETA)
    )
    integrals = read_fcidump(golden.folder / "fcidump.txt").integrals
    return (alpha, beta), integrals.one_body, integrals.pair_integrals, golden.norb, golden.nelec


def replay(name: str) -> str:
    """Leaves a golden run's files, as Dice did."""
    folder = FOLDER / name
    return f"cp {folder}/shci.e {folder}/dets.bin {folder}/spin1RDM.0.0.txt . ; cat {folder}/dice.out"


def solver(hpc: HPCJobRunner, tmp_path: Path, script: str, **options: Any) -> DiceSolver:
    """With a Dice that is this script."""
    dice = tmp_path / "Dice"
    dice.write_text(f"#!/bin/bash\n{script}\n")
    dice.chmod(0o755)
    options = {"isolation": "none", **options}
    return DiceSolver(hpc=hpc, executable=str(dice), **options)


def counted(tmp_path: Path) -> str:
    """A shell line that counts the starts."""
    return f"echo start >>{tmp_path}/starts"


def starts(tmp_path: Path) -> int:
    return len((tmp_path / "starts").read_text().split())


# -- what is believed


@pytest.mark.parametrize("code", [0, 1])
def test_good_files_are_the_answer_whatever_the_exit_code(hpc: HPCJobRunner, tmp_path: Path, code: int) -> None:
    dice = solver(hpc, tmp_path, f"{counted(tmp_path)}; {replay('h2o_sto3g')}; exit {code}")

    (run,) = dice.runs([problem("h2o_sto3g")[0]], *problem("h2o_sto3g")[1:])

    assert run.result.energy == pytest.approx(case("h2o_sto3g").meta["energy"], abs=1e-10)
    assert all(check.passed is not False for check in run.result.checks)
    assert (run.solver, run.problems, starts(tmp_path)) == ("dice", (), 1)
    assert run.jobs[0].exit_code == code


def test_a_wrong_answer_with_exit_code_0_is_rejected_and_tried_again(hpc: HPCJobRunner, tmp_path: Path) -> None:
    script = f"{counted(tmp_path)}; {replay('_corrupt/shm_collision_lih')}; exit 0"
    dice = solver(hpc, tmp_path, script, max_retries=1, fallback=False)

    with pytest.warns(UserWarning, match="tried again"), pytest.raises(DiceResultInvalid) as caught:
        dice.solve(*problem("_corrupt/shm_collision_lih"))

    assert "norm" in caught.value.names
    assert starts(tmp_path) == 2


def test_a_collision_is_over_at_the_second_try(hpc: HPCJobRunner, tmp_path: Path) -> None:
    wrong, right = replay("_corrupt/shm_collision_lih"), replay("lih_sto3g")
    script = f"{counted(tmp_path)}; if [ $(wc -l <{tmp_path}/starts) = 1 ]; then {wrong}; else {right}; fi; exit 0"

    with pytest.warns(UserWarning, match="tried again: Dice's answer is not to be believed"):
        (run,) = solver(hpc, tmp_path, script).runs([problem("lih_sto3g")[0]], *problem("lih_sto3g")[1:])

    assert run.result.energy == pytest.approx(case("lih_sto3g").meta["energy"], abs=1e-10)
    assert (len(run.jobs), len(run.problems)) == (2, 1)


@pytest.mark.parametrize("death", ["exit 1", "echo 'Segmentation fault'; exit 139", "kill -ABRT $$"])
def test_a_run_that_died_without_an_answer_is_tried_again(hpc: HPCJobRunner, tmp_path: Path, death: str) -> None:
    """So it ends when the ranks start in two different seconds, or another Dice took its memory."""
    script = (
        f"{counted(tmp_path)}; [ $(wc -l <{tmp_path}/starts) != 1 ] || {{ {death}; }}; {replay('lih_sto3g')}; exit 1"
    )

    with pytest.warns(UserWarning, match="tried again"):
        result = solver(hpc, tmp_path, script).solve(*problem("lih_sto3g"))

    assert result.energy == pytest.approx(case("lih_sto3g").meta["energy"], abs=1e-10)
    assert starts(tmp_path) == 2


def test_the_tries_are_bounded(hpc: HPCJobRunner, tmp_path: Path) -> None:
    dice = solver(hpc, tmp_path, f"{counted(tmp_path)}; echo lost >&2; exit 1", max_retries=1, fallback=False)

    with pytest.warns(UserWarning, match="tried again"), pytest.raises(JobFailed, match="lost"):
        dice.solve(*problem("lih_sto3g"))

    assert starts(tmp_path) == 2


@pytest.mark.parametrize("name", ["nelec_mismatch", "unknown_keyword", "norb64_detlen2"])
def test_a_refusal_is_told_in_dices_words_and_not_repeated(hpc: HPCJobRunner, tmp_path: Path, name: str) -> None:
    output = FOLDER / "_failures" / name / "dice.out"
    dice = solver(hpc, tmp_path, f"{counted(tmp_path)}; cat {output}; exit 1")

    with pytest.raises(DiceFailed) as caught:
        dice.solve(*problem("lih_sto3g"))

    assert caught.value.words in output.read_text()
    assert starts(tmp_path) == 1


def test_a_program_that_is_not_there_is_not_tried_again(hpc: HPCJobRunner) -> None:
    with pytest.raises(JobFailed, match="No such file"):
        DiceSolver(hpc=hpc, executable="/apps/no/Dice", isolation="none").solve(*problem("lih_sto3g"))
    assert len(hpc.jobs()) == 1


def test_a_job_that_was_stopped_has_no_answer_whatever_it_left(hpc: HPCJobRunner, tmp_path: Path) -> None:
    dice = solver(hpc, tmp_path, f"{replay('lih_sto3g')}; sleep 60")
    with pytest.raises(JobTimedOut):
        dice.solve(*problem("lih_sto3g"), overrides={"walltime": "2"})


def test_what_an_attempt_left_is_gone_when_the_next_one_starts(hpc: HPCJobRunner, tmp_path: Path) -> None:
    hpc.profiles["dice-mpi"] = ExecutionProfile(pre_commands=[replay("lih_sto3g")])
    with pytest.raises(JobFailed):
        solver(hpc, tmp_path, "exit 1", max_retries=0, fallback=False).solve(*problem("lih_sto3g"))


# -- what Dice cannot do


@pytest.mark.parametrize("name", ["_corrupt/davidson_cap_n2_12x12", "_failures/davidson_nan_abort"])
def test_what_dice_cannot_converge_the_embedded_solver_solves(hpc: HPCJobRunner, tmp_path: Path, name: str) -> None:
    files = replay(name) if "cap" in name else f"cat {FOLDER / name}/dice.out"
    dice = solver(hpc, tmp_path, f"{counted(tmp_path)}; {files}; exit {0 if 'cap' in name else 134}")
    asked = problem("_corrupt/davidson_cap_n2_12x12")

    with pytest.warns(UserWarning, match="the embedded solver takes over"):
        (run,) = dice.runs([asked[0]], *asked[1:])

    right = case("_corrupt/davidson_cap_n2_12x12").meta["correct_energy"]
    assert run.result.energy == pytest.approx(right, abs=1e-8)
    assert (run.solver, len(run.jobs), starts(tmp_path)) == ("embedded", 2, 1)


def test_without_the_fallback_it_is_an_error(hpc: HPCJobRunner, tmp_path: Path) -> None:
    dice = solver(hpc, tmp_path, f"{replay('_corrupt/davidson_cap_n2_12x12')}; exit 0", fallback=False)
    with pytest.raises(DiceResultInvalid) as caught:
        dice.solve(*problem("_corrupt/davidson_cap_n2_12x12"))
    assert caught.value.not_converged


def test_a_hopeless_subspace_is_solved_whichever_check_rejected_it(hpc: HPCJobRunner, tmp_path: Path) -> None:
    """Dice returns a state that is not normalised, each time; its neighbour is fine."""
    asked = problem("lih_sto3g")
    wrong, right = replay("_corrupt/shm_collision_lih"), replay("lih_sto3g")
    script = f'{counted(tmp_path)}; if [ "$(stat -Lc %s AlphaDets.bin)" = 240 ]; then {right}; else {wrong}; fi'
    (alpha, beta), *rest = asked

    with pytest.warns(UserWarning, match="the embedded solver takes over"):
        runs = solver(hpc, tmp_path, script, max_retries=0).runs([(alpha, beta), (alpha[:5], beta)], *rest)

    assert [(run.solver, len(run.jobs)) for run in runs] == [("dice", 1), ("embedded", 2)]
    assert runs[1].result.dimension == 75
    assert runs[0].result.energy < runs[1].result.energy


def test_a_tiny_subspace_never_starts_dice(hpc: HPCJobRunner, tmp_path: Path) -> None:
    """Its Davidson is as large as the subspace, and ends with states that are not normalised."""
    (alpha, beta), *rest = problem("lih_sto3g")
    dice = solver(hpc, tmp_path, f"{counted(tmp_path)}; {replay('lih_sto3g')}")

    runs = dice.runs([(alpha[:2], beta[:2]), (alpha, beta), (alpha[:7], beta[:7])], *rest)

    assert [run.solver for run in runs] == ["embedded", "dice", "embedded"]
    assert [run.problems for run in runs] == [(), (), ()]
    assert starts(tmp_path) == 1


@pytest.mark.parametrize("code", [6, 7, 11])
def test_a_crash_is_known_by_the_bare_signal_too(hpc: HPCJobRunner, tmp_path: Path, code: int) -> None:
    """As Hydra, Intel MPI and some srun report it."""
    first = f"[ $(wc -l <{tmp_path}/starts) != 1 ] || exit {code}"
    dice = solver(hpc, tmp_path, f"{counted(tmp_path)}; {first}; {replay('lih_sto3g')}", fallback=False)
    with pytest.warns(UserWarning, match="tried again"):
        (run,) = dice.runs([problem("lih_sto3g")[0]], *problem("lih_sto3g")[1:])
    assert len(run.jobs) == 2


@pytest.mark.parametrize("code", [9, 15, 126, 127, 137, 143])
def test_what_was_killed_or_is_not_there_goes_to_nobody_else(hpc: HPCJobRunner, tmp_path: Path, code: int) -> None:
    dice = solver(hpc, tmp_path, f"{counted(tmp_path)}; exit {code}")
    with pytest.raises(JobFailed):
        dice.solve(*problem("lih_sto3g"))
    assert starts(tmp_path) == 1


def test_a_residual_that_dice_cannot_reach_is_refused(hpc: HPCJobRunner, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="davidson_tol is 1e-12; Dice's Davidson diverges below 1e-09"):
        solver(hpc, tmp_path, "exit 1", davidson_tol=1e-12).solve(*problem("lih_sto3g"))
    assert hpc.jobs() == []


# -- advice that fits the cause


def advice_of(dice: DiceSolver, name: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((DiceFailed, DiceResultInvalid)) as caught:
            dice.solve(*problem(name))
    return caught.value.advice


def test_a_collision_is_suspected_only_where_memory_is_shared(hpc: HPCJobRunner, tmp_path: Path) -> None:
    wrong = replay("_corrupt/shm_collision_lih")
    shared, private = (
        advice_of(solver(hpc, tmp_path, wrong, isolation=way, max_retries=1, fallback=False), "lih_sto3g")
        for way in ("none", "private")
    )
    assert "in the same second" in shared
    assert "in the same second" not in private
    assert "it went wrong 2 times" in private
    assert "embedded solver" in private


def test_a_dice_that_loses_the_same_determinants_each_time_reads_other_strings(
    hpc: HPCJobRunner, tmp_path: Path
) -> None:
    script = f"cp AlphaDets.bin keep; head -c 80 keep >cut; mv cut AlphaDets.bin; {EMBEDDED}; mv keep AlphaDets.bin"
    dice = solver(hpc, tmp_path, script, max_retries=1, fallback=False)
    assert "16 bytes per string" in advice_of(dice, "lih_sto3g")


def test_a_dice_that_finds_no_electrons_in_right_strings_is_the_wrong_one(hpc: HPCJobRunner, tmp_path: Path) -> None:
    dice = solver(hpc, tmp_path, f"{counted(tmp_path)}; echo 'not enough 1 bits 4  5'; exit 1")
    assert "16 bytes per string" in advice_of(dice, "lih_sto3g")
    assert starts(tmp_path) == 1


# -- batches


def test_the_answers_of_a_batch_outlive_a_subspace_without_one(hpc: HPCJobRunner, tmp_path: Path) -> None:
    (alpha, beta), *rest = problem("lih_sto3g")
    bad = f'[ "$(stat -Lc %s AlphaDets.bin)" = 80 ] && [ ! -e {tmp_path}/mended ]'
    wrong = replay("_corrupt/shm_collision_lih")
    script = f"{counted(tmp_path)}; if {bad}; then {wrong}; exit 0; fi; exec {EMBEDDED}"
    dice = solver(hpc, tmp_path, script, max_retries=0, fallback=False)
    asked: dict[str, Any] = {"key": "batch", "reuse": "succeeded"}
    subspaces = [(alpha, beta), (alpha[:5], beta), (alpha[:6], beta)]

    with pytest.raises(SubspacesUnanswered, match="1 of 3 subspaces have no answer") as caught:
        dice.runs(subspaces, *rest, **asked)
    assert [run and run.result.dimension for run in caught.value.runs] == [225, None, 90]
    assert list(caught.value.errors) == [1]

    (tmp_path / "mended").touch()
    runs = dice.runs(subspaces, *rest, **asked)
    assert [run.result.dimension for run in runs] == [225, 75, 90]
    assert starts(tmp_path) == 4  # only the one that had no answer ran again
    kept = [old.jobs[0].handle.token for old in caught.value.runs if old is not None]
    assert [runs[0].jobs[0].handle.token, runs[2].jobs[0].handle.token] == kept


def test_a_batch_is_one_array_job_with_one_fcidump(hpc: HPCJobRunner, tmp_path: Path) -> None:
    (alpha, beta), *rest = problem("h2o_sto3g")
    dice = DiceSolver(hpc=hpc)

    runs = dice.runs([(alpha, beta), (alpha[:4], beta[:4]), (alpha[:1], beta[:2])], *rest)

    assert [run.result.dimension for run in runs] == [441, 16, 2]
    assert runs[0].result.energy == pytest.approx(case("h2o_sto3g").meta["energy"], abs=1e-8)
    assert runs[0].result.energy < runs[1].result.energy < runs[2].result.energy
    ids = [run.jobs[0].handle.job_id or "" for run in runs]
    assert len({hpc.target.scheduler.array_id(job) for job in ids}) == 1
    written = list((tmp_path / "jobs" / "hamiltonians").rglob("fcidump.txt*"))
    linked = [Path(run.jobs[0].handle.work_dir, "fcidump.txt") for run in runs]
    assert len(written) == 1
    assert all(path.samefile(written[0]) for path in linked)


def test_where_there_are_no_arrays_a_batch_is_single_jobs(hpc: HPCJobRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Local, "lacks", {"array": "none here", "array limit": "none here"})
    (alpha, beta), *rest = problem("lih_sto3g")
    results = DiceSolver(hpc=hpc).solve_batch([(alpha, beta), (alpha[:2], beta[:4])], *rest)
    assert [result.dimension for result in results] == [225, 8]
    assert results[0].energy == pytest.approx(case("lih_sto3g").meta["energy"], abs=1e-8)


def test_one_element_of_a_batch_is_tried_again_alone(hpc: HPCJobRunner, tmp_path: Path) -> None:
    bad = '[ "$(stat -Lc %s AlphaDets.bin)" = 80 ] && [ ! -e ' + f"{tmp_path}/once ]"
    died = f"touch {tmp_path}/once; exit 139"
    dice = solver(hpc, tmp_path, f"{counted(tmp_path)}; if {bad}; then {died}; fi; exec {EMBEDDED}")
    (alpha, beta), *rest = problem("lih_sto3g")

    with pytest.warns(UserWarning, match="tried again"):
        runs = dice.runs([(alpha, beta), (alpha[:5], beta), (alpha[:6], beta)], *rest)

    assert [len(run.jobs) for run in runs] == [1, 2, 1]
    assert [run.result.dimension for run in runs] == [225, 75, 90]
    assert starts(tmp_path) == 4


def test_an_empty_batch_is_no_job(hpc: HPCJobRunner) -> None:
    assert DiceSolver(hpc=hpc).solve_batch([], *problem("h2_sto3g")[1:]) == []
    assert hpc.jobs() == []


def test_strings_are_refused_before_anything_is_submitted(hpc: HPCJobRunner) -> None:
    (_, beta), *rest = problem("h2_sto3g")
    with pytest.raises(ConfigurationError, match="alpha string 3 has 2 electrons"):
        DiceSolver(hpc=hpc).solve(([1, 3], beta), *rest)
    assert hpc.jobs() == []


def test_the_same_key_means_the_same_job(hpc: HPCJobRunner) -> None:
    dice, asked = DiceSolver(hpc=hpc), problem("h2_sto3g")
    first, second = (dice.runs([asked[0]], *asked[1:], key="h2", reuse="succeeded")[0] for _ in range(2))
    assert first.jobs[0].handle.token == second.jobs[0].handle.token
    assert first.result.energy == second.result.energy


# -- input and output


def test_the_seeds_keywords_reach_input_dat(hpc: HPCJobRunner) -> None:
    dice = DiceSolver(hpc=hpc, select_cutoff=1e-3, davidson_tol=1e-6, energy_tol=1e-9, max_iter=7, seed=5)
    (run,) = dice.runs([problem("lih_hf_only")[0]], *problem("lih_hf_only")[1:])
    text = Path(run.jobs[0].handle.work_dir, "input.dat").read_text()
    for line in ("0 0.001", "davidsonTol 1e-06", "dE 1e-09", "maxiter 7", "seed 5", "sampleN 1"):
        assert line in text.splitlines()
    assert "DoRDM" not in text
    assert run.result.energy == pytest.approx(-8.874519200343, abs=1e-6)  # 34 determinants, of which 1 was given


def test_reference_keywords_end_with_exit_code_1_and_are_right(hpc: HPCJobRunner) -> None:
    dice = DiceSolver(hpc=hpc, reference_keywords=True)
    (run,) = dice.runs([problem("h2_sto3g")[0]], *problem("h2_sto3g")[1:])
    assert (run.jobs[0].exit_code, run.jobs[0].state) == (1, JobState.FAILED)
    assert run.result.energy == pytest.approx(case("h2_sto3g").meta["energy"], abs=1e-8)


def test_the_core_energy_is_part_of_the_energy(hpc: HPCJobRunner) -> None:
    result = DiceSolver(hpc=hpc).solve(*problem("h2_sto3g"), core_energy=0.7151043390810812)
    assert result.energy == pytest.approx(case("h2_sto3g").meta["energy"] + 0.7151043390810812, abs=1e-8)


def test_another_spin_than_the_wanted_one_is_told(hpc: HPCJobRunner, tmp_path: Path) -> None:
    dice = solver(hpc, tmp_path, replay("lih_sto3g"), spin_sq=0.0)
    dice.solve(*problem("lih_sto3g"))
    with pytest.warns(UserWarning, match=r"<S²> of the lowest state is 0.0000, not 2: .*'dice' takes no wish"):
        dice.solve(*problem("lih_sto3g"), spin_sq=2.0)


def test_the_embedded_solver_is_told_the_wanted_spin(hpc: HPCJobRunner) -> None:
    asked = Problem(6, (2, 2), read_fcidump(FOLDER / "lih_sto3g" / "fcidump.txt").integrals, ExecutionProfile(), 2.0)
    assert EmbeddedSolver(hpc=hpc).words(asked)[-2:] == ["--spin-sq", "2"]
    assert "--spin-sq" not in EmbeddedSolver(hpc=hpc).words(replace(asked, spin_sq=None))


def test_a_subspace_bounds_the_energy(hpc: HPCJobRunner) -> None:
    with pytest.warns(UserWarning, match="tried again"), pytest.raises(DiceResultInvalid, match="of a subspace"):
        DiceSolver(hpc=hpc, max_retries=1).solve(*problem("h2_sto3g"), parent_energy=-1.86)


# -- two on one node


def test_dice_gets_a_shared_memory_of_its_own(hpc: HPCJobRunner, tmp_path: Path) -> None:
    mark = f"dagster_hpc-test-{tmp_path.name}"
    script = f"echo x >/dev/shm/{mark}; ls -A /dev/shm >{tmp_path}/seen; {replay('lih_sto3g')}; exit 1"

    solver(hpc, tmp_path, script, isolation="auto").solve(*problem("lih_sto3g"))

    seen = (tmp_path / "seen").read_text().split()
    if "dagster_hpc-private" not in seen:
        Path("/dev/shm", mark).unlink()
        assert subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"]).returncode != 0
        pytest.skip("this machine gives users no namespaces of their own")
    assert set(seen) == {mark, "dagster_hpc-private"}
    assert not Path("/dev/shm", mark).exists()


@pytest.mark.needs("mpi")
def test_all_ranks_share_it(hpc: HPCJobRunner, tmp_path: Path) -> None:
    """And rank 1 leaves the work to the embedded solver's rank 0."""
    if subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("this machine gives users no namespaces of their own")
    embedded = f"{sys.executable} -m dagster_hpc.dice.pyscf_solver"
    script = f"touch /dev/shm/rank-$OMPI_COMM_WORLD_RANK; sleep 1; ls /dev/shm >{tmp_path}/seen; exec {embedded}"

    dice = solver(hpc, tmp_path, script, isolation="private", profile="two-ranks")
    (run,) = dice.runs([problem("lih_sto3g")[0]], *problem("lih_sto3g")[1:])

    assert {"rank-0", "rank-1"} <= set((tmp_path / "seen").read_text().split())
    assert list(Path("/dev/shm").glob("rank-*")) == []
    assert run.result.energy == pytest.approx(case("lih_sto3g").meta["energy"], abs=1e-8)
    assert run.jobs[0].succeeded


def test_a_job_in_its_own_shared_memory_can_be_cancelled(hpc: HPCJobRunner, tmp_path: Path) -> None:
    script = f"trap 'echo told >{tmp_path}/told; exit 143' TERM; touch {tmp_path}/up; while :; do sleep 0.1; done"
    dice = solver(hpc, tmp_path, script, isolation="private")
    with pytest.raises(JobTimedOut):
        dice.solve(*problem("lih_sto3g"), overrides={"walltime": "2"})
    assert (tmp_path / "told").exists()


def test_where_users_have_no_namespaces_starts_are_staggered(hpc: HPCJobRunner, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "unshare").symlink_to("/bin/false")
    hpc.profiles["dice-mpi"] = ExecutionProfile(pre_commands=[f"PATH={tmp_path}/bin:$PATH"])
    script = f"date +%s.%N >>{tmp_path}/moments; sleep 1.6; {replay('lih_sto3g')}; exit 1"
    dice = solver(hpc, tmp_path, script, isolation="auto")

    strings, *rest = problem("lih_sto3g")
    runs = dice.runs([strings, strings], *rest)

    moments = sorted(map(float, (tmp_path / "moments").read_text().split()))
    assert np.diff(moments).min() > 1.2
    assert all("no private /dev/shm" in run.jobs[0].stdout_tail for run in runs)


@pytest.mark.parametrize(
    ("profile", "way"),
    [
        ({}, "private"),
        ({"launcher": "mpirun", "mpiprocs": 4}, "private"),
        ({"launcher": "srun", "mpiprocs": 4}, "staggered"),
        ({"launcher": "mpirun", "num_nodes": 2}, "staggered"),
        ({"container": "/images/dice.sif"}, "staggered"),
    ],
)
def test_how_runs_are_kept_apart_follows_from_the_profile(hpc: HPCJobRunner, profile: dict[str, Any], way: str) -> None:
    start = DiceSolver(hpc=hpc, executable="/apps/Dice").start_lines(ExecutionProfile(**profile))
    assert ("unshare" in start) == (way == "private")
    assert "flock" in start
    assert "unshare" not in EmbeddedSolver(hpc=hpc).start_lines(ExecutionProfile(**profile))
    assert subprocess.run(["bash", "-n"], input=start, text=True).returncode == 0


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    heavy = {"pyscf", "qiskit", "jax", "h5py", "scipy"}
    code = f"import sys; from dagster_hpc.dice import *; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.fixture(autouse=True)
def unexpected_warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*tried again|.*takes over|<S²>")
        yield
