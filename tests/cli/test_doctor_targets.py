"""What doctor says of the ledger's place, of the kinds of targets, and of a target's patience."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import LocalTarget, SlurmTarget
from dagster_hpc.checks import ledger as ledger_check
from dagster_hpc.checks.ledger import ledger
from dagster_hpc.checks.patience import patience
from dagster_hpc.engine.filesystem import network_filesystem
from dagster_hpc.engine.ledger import database
from dagster_hpc.resources import targets
from tests.cli.terminal import Terminal


def test_help_names_all_kinds_of_targets(terminal: Terminal) -> None:
    words = set(re.findall(r"[a-z]+", terminal.run("doctor", "--help").stdout.partition("--target")[2]))
    assert set(targets._HOME) <= words
    assert len(targets._HOME) == 11


def test_a_ledger_on_a_network_file_system_is_one_hosts_and_doctor_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = f"server:/x {tmp_path} nfs4 rw 0 0\n"
    for module in (database, ledger_check):
        monkeypatch.setattr(module, "network_filesystem", lambda path: network_filesystem(path, mounts))
    url = f"sqlite:///{tmp_path}/ledger.db"

    first = ledger(url)

    assert first.level == "warn"
    assert "it lies on nfs4, where it is this host's alone" in first.sentence
    assert first.advice.startswith("set DAGSTER_HPC_LEDGER to one PostgreSQL URL on all hosts")
    monkeypatch.setattr("dagster_hpc.engine.ledger.database.socket.gethostname", lambda: "login2")
    second = ledger(url)
    assert second.level == "fail"
    assert "is in use on" in second.sentence
    assert "set DAGSTER_HPC_LEDGER to one PostgreSQL URL" in second.advice


@pytest.mark.parametrize("kind", list(targets._HOME))
def test_the_defaults_of_every_kind_are_sensible(kind: str) -> None:
    target = targets.target_class(kind)().engine_target()
    assert patience(target, is_local=kind == "local").level == "ok"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"file_delay": 2}, "file_delay=2: on NFS"),
        ({"lost_after": 60}, "lost_after=60: a restart"),
        ({"scheduler_patience": 10}, "scheduler_patience=10: a restart"),
        ({"cancel_stuck_after": 60}, "cancel_stuck_after=60: such a reason may pass"),
        ({"poll_interval": 0.5}, "poll_interval=0.5: sites"),
        ({"parallel_submissions": 100}, "parallel_submissions=100: so many"),
    ],
)
def test_a_field_that_expects_too_much_is_told(fields: Mapping[str, Any], words: str) -> None:
    finding = patience(SlurmTarget(**fields).engine_target(), is_local=False)
    assert finding.level == "warn"
    assert words in finding.sentence


def test_on_this_machine_files_are_there_at_once_and_the_limit_is_told() -> None:
    finding = patience(LocalTarget(file_delay=0, poll_interval=0.5, max_jobs=7).engine_target(), is_local=True)
    assert finding.level == "ok"
    assert "at most 7 live jobs" in finding.sentence
