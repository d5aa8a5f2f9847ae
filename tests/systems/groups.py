"""Which tests run one after the other when others run beside them, as in `pytest -n 4`.

The tests of one real system are a group: they share daemons that some of them stop. Those of Slurm, which starts quickly,
are three with a cluster each. All others are in the groups of their files, whose fixtures they share. What takes longest
comes first, so that no group is left at the end while the other workers have nothing to do.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

REAL = ("sge", "torque", "slurm", "postgres", "browser")  # of several that a test needs, the first names its group
FIXTURES = {"slurm_without_accounting": "slurm", "postgres_url": "postgres", "served": "browser"}

APART = {("slurm", "contract"), ("slurm", "faults")}  # they have a system to themselves

# Groups, and folders of other groups, by the time they take: what is not here is quick.
LONGEST = (
    "sge", "simulation", "slurm of faults", "torque", "slurm of contract", "slurm", "browser", "definitions", "docs", "dice",
    "cli", "launchers", "engine/test_pbs", "faults", "contract",
)  # fmt: skip


def group_of(item: pytest.Item) -> str:
    """A name for the tests that this one must not run at the same time as."""
    file = item.path.relative_to(Path(__file__).parents[1]).with_suffix("")
    folder = file.parts[0]
    if system := real_system(item):
        return f"{system} of {folder}" if (system, folder) in APART else system
    if kind := simulated_system(item):
        return f"{kind} of {folder}"
    if folder == "simulation":
        return f"{file.as_posix()} {item.name}"  # each stands alone, and they take long together
    return file.as_posix()


def real_system(item: pytest.Item) -> str:
    """The real system that the test is about; empty where it needs none."""
    asked = {name for marker in item.iter_markers("needs") for name in marker.args}
    asked |= {FIXTURES.get(name, name) for name in getattr(item, "fixturenames", ())}
    return next((system for system in REAL if system in asked), "")


def simulated_system(item: pytest.Item) -> str:
    """The kind of the contract suite's `system`, of which there is one per session."""
    callspec = getattr(item, "callspec", None)
    return getattr(callspec.params.get("system"), "kind", "") if callspec else ""


def rank(group: str) -> int:
    """Its place in LONGEST, by its name or its folder's."""
    names = (group, group.rpartition(" of ")[2].partition("/")[0])
    return min((LONGEST.index(name) for name in names if name in LONGEST), default=len(LONGEST))


# ---------------------------------------------------------------------- pytest-xdist
#
# Its own --dist loadgroup reads marks, but writes what it reads into names of tests, which pytest 9.2 no longer allows.
# So each worker writes the groups into a file, and the scheduler in the first process reads that of any of them.


def write_groups(items: list[pytest.Item], file: Path) -> None:
    """In a worker, after the collection: the longest groups first, the order within one as it was."""
    groups = {item.nodeid: group_of(item) for item in items}
    items.sort(key=lambda item: rank(groups[item.nodeid]))
    mine = file.with_name(f"{file.name}.{os.getpid()}")
    mine.write_text(json.dumps(groups))
    mine.replace(file)


def scheduler(config: pytest.Config, log: Any, file: Path) -> Any:
    """For the first process: whole groups, in the order of the collection, to whoever has nothing to do."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Groups(LoadScopeScheduling):  # type: ignore[misc]
        """A scope is a group."""

        known: dict[str, str] = {}

        def _split_scope(self, nodeid: str) -> str:
            if not self.known:
                self.known = json.loads(file.read_text())
            return self.known[nodeid]

    config.option.loadscopereorder = False
    return Groups(config, log)
