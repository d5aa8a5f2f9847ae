"""Submitting: refused in the system's own words, found again by name, and once only, whatever the reply was."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dagster_hpc import Command, JobState, SubmitRefused
from dagster_hpc.engine.schedulers.base import Report
from tests.contract.site import Job, Site, opened
from tests.contract.systems.base import System
from tests.faults.place import PLAIN, eventually, run_failing, told

# What a submit command says when it did not get its answer: (exit code, standard error).
NO_ANSWER = {
    "local": (1, "cannot use the spool: Input/output error"),
    "slurm": (1, "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"),
    "torque": (1, "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"),
    **dict.fromkeys(
        ("pbs", "pbs-main", "miyabi", "gadi"),
        (162, "Connection refused\nqsub: cannot connect to server pbshost (errno=15010)"),
    ),
    "sge": (1, "error: commlib error: got read error (closing connection)\nUnable to run job: got read error"),
    "lsf": (255, "Failed in an LSF library call: Communication time out. Job not submitted."),
    "flux": (1, "flux-batch: ERROR: [Errno 110] Connection timed out"),
}


def test_a_refused_job_is_told_in_the_systems_words(site: Site) -> None:
    fields, words = site.system.refused()
    hpc = site.runner(**fields)
    error = run_failing(lambda: hpc.submit(Command.shell("touch ran"), profile=PLAIN), SubmitRefused)
    (row,) = site.rows()
    assert words in str(error)
    assert words in row.reason
    told(error, row)
    assert (row.state, row.job_id) == (JobState.REFUSED, None)
    assert site.live_there(row) == []


# ---------------------------------------------------------------------- asked about


@dataclass
class Asked:
    """What the system said of a running job, and of one that it never had."""

    job: Job
    found: list[str]
    both: Report
    unknown: Report
    never: str
    found_at_the_end: list[str]


@pytest.fixture(scope="module")
def asked(system: System) -> Iterator[Asked]:
    with opened(system) as site:
        gate = site.gate()
        job = site.submit(gate.closed, name="asked about")
        job.until("RUNNING")
        never = re.sub(r"\d+", lambda match: str(int(match[0]) + 700_000), job.id, count=1)
        found, both, unknown = site.found(job.row), site.ask([never, job.id]), site.ask([never])
        gate.open()
        job.end()
        yield Asked(job, found, both, unknown, never, eventually(lambda: site.found(job.row), "it is in the history"))


def test_a_running_job_is_found_by_its_name(asked: Asked) -> None:
    assert asked.found == [asked.job.id]


def test_a_job_that_is_over_is_found_by_its_name(asked: Asked) -> None:
    assert asked.found_at_the_end == [asked.job.id]


def test_an_unknown_id_does_not_hide_a_known_one(asked: Asked) -> None:
    assert not asked.both.failed
    assert asked.both.jobs[asked.job.id].state is JobState.RUNNING
    assert asked.never not in asked.both.jobs


def test_nothing_is_said_of_an_unknown_id(asked: Asked) -> None:
    assert not [status for status in asked.unknown.jobs.values() if status.state.is_final]


# ---------------------------------------------------------------------- the reply is lost


@pytest.mark.parametrize("reply", ["silence", "killed", "no answer"])
def test_a_job_whose_reply_is_lost_is_adopted(site: Site, monkeypatch: pytest.MonkeyPatch, reply: str) -> None:
    code, words = NO_ANSWER.get(site.system.kind, (0, ""))
    lies = {"silence": "exit 0", "killed": "kill -KILL $$", "no answer": f"echo {shlex.quote(words)} >&2; exit {code}"}
    submit_first(site, monkeypatch, lies[reply])
    job = site.submit(f"echo ran >>{shlex.quote(str(site.folder))}/ran", name="lost")
    assert job.end().state is JobState.COMPLETED
    assert (site.folder / "ran").read_text() == "ran\n"
    assert site.found(job.row) == [job.id]
    assert len(site.rows()) == 1
    assert any("was taken after all" in words for words in site.warnings)


def submit_first(site: Site, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    """Put a command before the system's own that submits, and then does not say so."""
    program = site.scheduler.submit("script").argv[0]
    real = shutil.which(program)
    assert real
    folder = site.folder / "bin"
    folder.mkdir()
    wrapper = folder / Path(program).name
    submits = {sys.executable: '*" submit "*', "flux": '*" batch "*'}.get(program, "*")  # one program has many verbs
    wrapper.write_text(
        f'#!/bin/bash\ncase " $* " in\n{submits}) {shlex.quote(real)} "$@" >/dev/null || exit; {lie} ;;\n'
        f'*) exec {shlex.quote(real)} "$@" ;;\nesac\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    if program == sys.executable:
        monkeypatch.setattr(sys, "executable", str(wrapper))
