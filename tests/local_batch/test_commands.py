"""What the commands print and how a job ends."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.local_batch.system import Batch, eventually


def test_a_job_runs_and_query_says_all_about_it(batch: Batch) -> None:
    before = time.time()
    job = batch.submit("echo hello; echo problem >&2", "name=greet", "output=out-%j.txt", "memory=64", "time=50")
    end = batch.end(job)
    assert batch.read(f"out-{job}.txt") == "hello\nproblem\n"
    assert before <= end["submitted_at"] <= end["started_at"] <= end["ended_at"] <= time.time()
    assert end["max_rss_mib"] > 1
    assert end["cpu_user_s"] + end["cpu_system_s"] > 0
    assert isinstance(end["pid"], int)
    expected = {
        "id": job,
        "array_id": job,
        "index": None,
        "name": "greet",
        "state": "COMPLETED",
        "reason": None,
        "exit_code": 0,
        "signal": None,
        "cores": 1,
        "memory_mib": 64,
        "gpus": 0,
        "time_s": 50,
        "host": os.uname().nodename,
    }
    assert {key: end[key] for key in expected} == expected


def test_ids_are_numbers_that_only_grow(batch: Batch) -> None:
    ids = [int(batch.submit("true")) for _ in range(3)]
    assert ids == sorted(set(ids))


def test_exit_code_three_is_a_failure_with_that_code(batch: Batch) -> None:
    end = batch.end(batch.submit("exit 3"))
    assert (end["state"], end["exit_code"], end["signal"], end["reason"]) == ("FAILED", 3, None, "exited with code 3")


def test_death_by_a_signal_is_told_by_number_and_name(batch: Batch) -> None:
    end = batch.end(batch.submit("kill -SEGV $$"))
    assert (end["state"], end["exit_code"], end["signal"]) == ("FAILED", None, 11)
    assert end["reason"] == "killed by signal 11 (SIGSEGV)"


def test_an_interpreter_that_is_not_there_is_a_failure_with_its_cause(batch: Batch) -> None:
    path = batch.root / "odd.sh"
    path.write_text("#!/no/such/shell\n")
    end = batch.end(batch.run("submit", str(path)).stdout.strip())
    assert end["state"] == "FAILED"
    assert "/no/such/shell" in end["reason"]


def test_an_output_that_cannot_be_written_is_a_failure_with_its_cause(batch: Batch) -> None:
    end = batch.end(batch.submit("true", "output=no/such/directory/x"))
    assert end["state"] == "FAILED"
    assert "no/such/directory" in end["reason"]


def test_the_script_runs_as_it_was_when_submitted(batch: Batch) -> None:
    blocker = batch.submit("while [ ! -e go ]; do sleep 0.02; done", options=("--capacity-cores", "1"))
    job = batch.submit("echo first", "output=out")
    batch.script("echo second")
    (batch.root / "go").touch()
    batch.ended(blocker, job)
    assert batch.read("out") == "first\n"


def test_environment_directory_and_umask_are_those_of_the_submission(batch: Batch) -> None:
    elsewhere = batch.root / "else where"
    elsewhere.mkdir()
    value = "two words\nand a line, ü"
    job = batch.submit(
        'printf %s "$SPECIAL" > value; pwd > place; umask > mask',
        "output=out",
        options=("--cwd", str(elsewhere)),
        env={**batch.environment, "SPECIAL": value},
        umask=0o027,
    )
    assert batch.end(job)["state"] == "COMPLETED"
    assert (elsewhere / "value").read_text() == value
    assert (elsewhere / "place").read_text() == f"{elsewhere}\n"
    assert (elsewhere / "mask").read_text() == "0027\n"
    assert stat.S_IMODE((elsewhere / "out").stat().st_mode) == 0o640


def test_a_job_is_told_who_it_is(batch: Batch) -> None:
    job = batch.submit(
        'echo "$LOCAL_JOB_ID $LOCAL_JOB_NAME $LOCAL_CORES ${LOCAL_ARRAY_INDEX-none}"',
        "name=who",
        "cores=2",
        "output=out",
        options=("--capacity-cores", "4"),
        env={**batch.environment, "LOCAL_ARRAY_INDEX": "77"},
    )
    batch.end(job)
    assert batch.read("out") == f"{job} who 2 none\n"


def test_output_is_appended_and_named_after_the_job_by_default(batch: Batch) -> None:
    (batch.root / "log").write_text("before\n")
    first = batch.submit("echo after", "output=log")
    second = batch.submit("echo plain")
    batch.ended(first, second)
    assert batch.read("log") == "before\nafter\n"
    assert batch.read(f"local-{second}.out") == "plain\n"


def test_bash_may_trap_signals_that_the_submitter_ignored(batch: Batch) -> None:
    path = batch.script("trap 'echo trapped' HUP INT; kill -HUP $$; kill -INT $$; exit 0", "output=out")
    quoted = " ".join(f"'{word}'" for word in batch.argv("submit", str(path)))
    done = subprocess.run(
        ["bash", "-c", f"trap '' HUP INT; {quoted}"],
        cwd=batch.root,
        env=batch.environment,
        capture_output=True,
        text=True,
    )
    assert batch.end(done.stdout.strip())["state"] == "COMPLETED"
    assert batch.read("out") == "trapped\ntrapped\n"


def test_query_by_name_by_id_and_of_all_that_lives(batch: Batch) -> None:
    done = batch.submit("true", "name=token-1")
    batch.end(done)
    live = batch.submit("sleep 60", "name=token-2")
    held = batch.submit("true", "name=token-3", f"after=ok:{live}")
    assert [job["id"] for job in batch.query("--name", "token-1")] == [done]
    assert [job["id"] for job in batch.query("--name", "token-1", "--name", "nobody", held, "999", "x")] == [done, held]
    assert [job["id"] for job in batch.query()] == [live, held]


def test_a_spool_that_is_not_there_has_no_jobs_and_is_not_made_by_asking(batch: Batch) -> None:
    assert batch.query("1") == []
    assert batch.run("cancel", "1").stderr == "local_batch: error: no job 1 in this spool\n"
    assert not batch.spool.exists()


def test_the_spool_is_private(batch: Batch) -> None:
    batch.end(batch.submit("true"))
    assert stat.S_IMODE(batch.spool.stat().st_mode) == 0o700
    assert stat.S_IMODE((batch.spool / "spool.db").stat().st_mode) == 0o600


def test_a_finished_job_leaves_neither_script_nor_environment_behind(batch: Batch) -> None:
    job = batch.submit("true # sesame", env={**batch.environment, "SECRET": "open-sesame"})
    batch.end(job)
    row = sqlite3.connect(batch.spool / "spool.db").execute("SELECT script, environment FROM submissions")
    assert row.fetchall() == [(None, None)]
    eventually(lambda: not list((batch.spool / "jobs").iterdir()))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo no interpreter\n", "does not begin with #!"),
        ("#!/bin/bash\n#LOCAL --colour=red\n", "line 2: unknown directive --colour"),
        ("#!/bin/bash\n#LOCAL --cores=many\n", "--cores=many: expected a whole number"),
        ("#!/bin/bash\n#LOCAL --after=ok:4711\n", "job 4711"),
    ],
)
def test_a_refused_submission_is_one_plain_line_and_queues_nothing(batch: Batch, text: str, words: str) -> None:
    path = batch.root / "bad.sh"
    path.write_text(text)
    refused = batch.run("submit", str(path))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("local_batch: error: ")
    assert refused.stderr.count("\n") == 1
    assert words in refused.stderr
    assert batch.query() == []


def test_wrong_arguments_are_refused_in_one_line_too(batch: Batch) -> None:
    for arguments in (["missing.sh"], [], ["--kill-after", "x", "a"], ["--cwd", "/no/such", str(batch.script("true"))]):
        refused = batch.run("submit", *arguments)
        assert refused.returncode == 1
        assert refused.stderr.startswith("local_batch: error: ")
        assert refused.stderr.count("\n") == 1


def test_a_wrong_knob_is_refused_while_its_user_watches(batch: Batch) -> None:
    refused = batch.run("submit", str(batch.script("true")), env={**batch.environment, "LOCAL_BATCH_POLL": "soon"})
    assert refused.stderr == "local_batch: error: LOCAL_BATCH_POLL=soon: expected a number of seconds\n"


def test_a_directory_that_cannot_be_made_is_refused_with_its_cause(batch: Batch) -> None:
    batch.spool.write_text("a file is in the way")
    refused = batch.run("submit", str(batch.script("true")))
    assert refused.returncode == 1
    assert str(batch.spool) in refused.stderr
    batch.spool.unlink()


def test_json_is_all_that_query_prints(batch: Batch) -> None:
    job = batch.submit("true", "name=naïve ☃")
    assert json.loads(batch.run("query", job).stdout)["jobs"][0]["name"] == "naïve ☃"


def test_query_names_the_ids_that_it_does_not_know(batch: Batch) -> None:
    array = batch.submit("true", "array=0-1")
    told = json.loads(batch.run("query", array, f"{array}_0", f"{array}_7", "999", "x").stdout)
    assert [job["id"] for job in told["jobs"]] == [f"{array}_0", f"{array}_1"]
    assert told["unknown"] == [f"{array}_7", "999", "x"]


def test_the_commands_import_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from dagster_hpc.local_batch.__main__ import main; "
        f"main(['query', '--spool', {str(tmp_path)!r}]); "
        "print([m for m in ('dagster', 'sqlalchemy', 'asyncio', 'multiprocessing', 'subprocess') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.splitlines() == ['{"jobs": [], "unknown": []}', "[]"]
