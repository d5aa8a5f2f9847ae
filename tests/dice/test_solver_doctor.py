"""`dagster-hpc doctor` tries what is called dice."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_hpc import HPCJobRunner, LocalTarget
from dagster_hpc.checks.base import Check
from dagster_hpc.cli.examine import examine
from tests.dice.stand_ins import ALPHA_ONLY, EMBEDDED, FIVE_BYTES, ONE_DETERMINANT, UP_TO_63


def found(tmp_path: Path, script: str, key: str = "dice_solver", name: str = "solver") -> Check | None:
    """What the doctor says of a Dice that is this script."""
    path = tmp_path / name
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    target = LocalTarget(spool=str(tmp_path / "spool"), executable_map={key: str(path)})
    hpc = HPCJobRunner(target=target, work_root=str(tmp_path / "jobs"), ledger_url=f"sqlite:///{tmp_path}/l.db")
    return next((check for check in examine(hpc) if check.name == f"dice {key}"), None)


@pytest.mark.parametrize(
    ("script", "level", "words"),
    [
        (EMBEDDED, "ok", "64 orbitals and more"),
        (f"{UP_TO_63}\n{EMBEDDED}", "ok", "up to 63 orbitals"),
        (ONE_DETERMINANT, "fail", "ignores the determinants"),
        (ALPHA_ONLY, "fail", "does not read the strings"),
        (FIVE_BYTES, "fail", "does not read the strings"),
        (f"{UP_TO_63}\n{FIVE_BYTES}", "fail", "does not read the strings"),
        ("echo cannot read option sampleN; exit 1", "warn", "cannot read option sampleN"),
        ("echo libmpi.so.40: cannot open shared object file >&2; exit 127", "warn", "libmpi.so.40"),
        ("exit 0", "warn", "it said nothing"),
    ],
)
def test_a_dice_is_tried(tmp_path: Path, script: str, level: str, words: str) -> None:
    check = found(tmp_path, script)
    assert check is not None
    assert check.finding.level == level
    assert words in check.finding.sentence
    assert level == "ok" or check.finding.advice


def test_what_is_called_otherwise_is_left_alone(tmp_path: Path) -> None:
    assert found(tmp_path, f"touch {tmp_path}/ran", key="candice") is None
    assert not (tmp_path / "ran").exists()


def test_the_programs_own_name_counts_too(tmp_path: Path) -> None:
    check = found(tmp_path, EMBEDDED, key="shci", name="Dice")
    assert check is not None
    assert check.finding.level == "ok"
