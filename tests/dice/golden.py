"""Runs of a real Dice: good ones, refused and crashed ones, and ones that ended with exit code 0 and a wrong answer."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "golden" / "dice"


@dataclass(frozen=True)
class Case:
    folder: Path
    meta: dict[str, Any]

    @property
    def norb(self) -> int:
        return int(self.meta["norb"])

    @property
    def nelec(self) -> tuple[int, int]:
        alpha, beta = self.meta["nelec"]
        return alpha, beta

    @property
    def stdout(self) -> Path:
        return self.folder / "dice.out"

    def copy_to(self, folder: Path) -> Path:
        place = folder / self.folder.name
        shutil.copytree(self.folder, place)
        return place


def case(name: str) -> Case:
    return Case(FOLDER / name, json.loads((FOLDER / name / "meta.json").read_text()))


def names(below: str = "") -> list[str]:
    return sorted(str(path.parent.relative_to(FOLDER)) for path in (FOLDER / below).glob("*/meta.json"))


GOOD, CORRUPT, FAILED = names(), names("_corrupt"), names("_failures")
