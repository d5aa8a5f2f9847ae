"""The reader of messages: whole lines, each once, of the life that the job lives now."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import Command, HPCJobRunner
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.pipes.environment import pipes_files, with_pipes
from dagster_hpc.pipes.messages import JobMessages
from tests.pipes.conftest import message

LIFE = "1763620000.5"


class Job:
    """A job's directory, as its script and its programs write it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / ".job").mkdir()
        (folder / ".pipes").mkdir()
        self.messages = JobMessages(LocalHost(), str(folder))

    def begin(self, life: str = LIFE) -> None:
        (self.folder / ".job" / "started").write_text(f"{life} 42 node1\n")
        self.file = self.folder / ".pipes" / f"messages.{life}"

    def write(self, text: str) -> None:
        with open(self.file, "a") as file:
            file.write(text)

    def look(self) -> list[str]:
        return [one["method"] for one in self.messages.look()]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_files_that_come_late_are_read_when_they_are_there(job: Job) -> None:
    assert job.look() == []
    job.begin()
    assert job.look() == []
    job.write(message("opened") + "\n")
    assert job.look() == ["opened"]


def test_a_line_counts_once_it_is_whole(job: Job) -> None:
    job.begin()
    text = message("log", message="ä" * 10, level="INFO") + "\n"
    raw, said = text.encode(), []
    for at in range(0, len(raw), 7):
        with open(job.file, "ab") as file:
            file.write(raw[at : at + 7])
        said += job.messages.look()
    assert [one["params"]["message"] for one in said] == ["ä" * 10]
    assert job.look() == []


def test_of_a_job_that_began_again_only_the_present_life_counts(job: Job) -> None:
    job.begin("1763620000.5")
    job.write(message("opened") + "\n" + message("report_custom_message", payload=1) + "\nhalf a li")
    assert job.look() == ["opened", "report_custom_message"]
    job.begin("1763620099.5")
    assert job.look() == []
    job.write(message("opened") + "\n" + message("report_custom_message", payload=2) + "\n")
    assert job.look() == ["opened", "report_custom_message"]
    assert [one["params"].get("payload") for one in job.messages.kept] == [None, 2]
    assert job.messages.lives == 2


def test_a_file_system_that_does_not_answer_says_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.begin()
    job.write(message("opened") + "\n")

    def stale(*_: Any, **__: Any) -> bytes:
        raise OSError("Stale file handle")

    with monkeypatch.context() as broken:
        broken.setattr(LocalHost, "read", stale)
        assert (job.look(), job.messages.silent) == ([], "Stale file handle")
    assert (job.look(), job.messages.silent) == (["opened"], "")


def test_what_is_missing_is_told_in_a_sentence(job: Job) -> None:
    job.begin()
    job.look()
    assert "never opened Dagster Pipes" in job.messages.lacking()
    job.write(message("opened") + "\n")
    job.look()
    assert "never closed it" in job.messages.lacking()
    job.write(message("closed") + "\n")
    job.look()
    assert job.messages.lacking() == ""
    job.write('{"energy": 1}\n')
    job.look()
    assert "no message: '{\"energy\": 1}'" in job.messages.lacking()


def test_a_line_of_whoever_never_opened_pipes_stands_for_itself(job: Job) -> None:
    job.begin()
    job.write(message("report_custom_message", payload=1) + "\n")
    job.look()
    assert job.messages.lacking() == ""


def test_a_script_that_is_run_again_under_its_id_begins_a_file_of_messages_of_its_own(hpc: HPCJobRunner) -> None:
    """As a scheduler requeues a job: the same script, the same id."""
    line = message("report_custom_message", payload="$$")
    command = Command.shell(
        f'echo {line!r} >>"$HPC_PIPES_MESSAGES"', inputs=pipes_files({"extras": {}})  # type: ignore[arg-type]
    )
    result = hpc.run(command, profile=with_pipes(hpc.profiles["small"]))
    messages = JobMessages(LocalHost(), result.handle.work_dir)
    assert len(messages.look()) == 1
    (script,) = Path(result.handle.work_dir, ".job").glob("script.*")

    again = {**os.environ, "LOCAL_JOB_ID": str(result.handle.job_id), "LOCAL_ARRAY_INDEX": ""}
    subprocess.run(["bash", str(script)], env=again, check=True, timeout=60)

    assert (len(messages.look()), len(messages.kept), messages.lives) == (1, 1, 2)
    assert len(list(Path(result.handle.work_dir, ".pipes").glob("messages.*"))) == 2


@pytest.mark.parametrize("name", ["plain", "ä ö'\"\\$x`", "x" * 200], ids=["plain", "odd", "long"])
def test_the_script_makes_the_parameters_of_pipes_for_any_path(tmp_path: Path, name: str) -> None:
    from dagster_pipes import decode_param

    folder = tmp_path / name
    for below in (".job", ".pipes"):
        (folder / below).mkdir(parents=True)
    (folder / ".job" / "started").write_text(f"{LIFE} 42 node1\n")
    for file, content in pipes_files({"extras": {}}).items():
        (folder / file).write_bytes(content if isinstance(content, bytes) else str(content).encode())

    script = '. "$HPC_JOB_DIR/.pipes/setup.sh" && echo "$DAGSTER_PIPES_CONTEXT" && echo "$DAGSTER_PIPES_MESSAGES"'
    environment = {"HPC_JOB_DIR": str(folder), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    said = subprocess.run(["bash", "-eo", "pipefail", "-c", script], env=environment, capture_output=True, text=True)

    context, messages = said.stdout.splitlines()
    assert decode_param(context) == {"path": f"{folder}/.pipes/context.json"}
    assert decode_param(messages) == {"path": f"{folder}/.pipes/messages.{LIFE}"}
