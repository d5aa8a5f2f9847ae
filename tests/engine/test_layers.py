"""Each floor imports only floors below it; the engine knows no Dagster."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dagster_hpc
from dagster_hpc.checks import probes
from dagster_hpc.checks.base import Demand
from dagster_hpc.engine.schedulers import KINDS, scheduler_class

PACKAGE = Path(dagster_hpc.__file__).parent
ENGINE = sorted((PACKAGE / "engine").rglob("*.py"))
ROOM = PACKAGE / "engine" / "schedulers"
SCHEDULERS = sorted(ROOM.rglob("*.py"))

# From the ground up. A module may import from its own floor and from those before it.
FLOORS = [
    ["version", "lazy", "shown_text", "engine", "local_batch", "step_batch"],
    ["python_calls"],
    ["electrons"],
    ["diagonalization"],
    ["explain", "usage"],
    ["checks", "dagster_values", "value_files"],
    ["timeline"],
    ["metadata", "collectors"],
    ["resources"],
    ["site"],
    ["assets"],
    ["sensors", "executor"],
    ["notifications"],
    ["testing"],
    ["pipes"],
    ["components"],
    ["subspace", "quantum"],
    ["dice"],
    ["sbd"],
    ["sqd"],
]
ENGINE_FLOORS = [
    ["errors", "units", "filesystem", "process", "call", "clock", "jobdir"],
    ["job"],
    ["launchers", "retry"],
    ["schedulers", "hosts"],
    ["script", "lock"],
    ["target", "ledger"],
    ["workplace", "cluster"],
    ["observe"],
    ["submit"],
    ["cancel"],
    ["upkeep", "collect", "step_figures"],
    ["report"],
    ["wait"],
    ["runner"],
    ["allocation"],
]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """The modules that a file names in an import anywhere, but under TYPE_CHECKING, and late ones inside functions."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def top_level_imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            # `from dagster_hpc.engine import lock` names a module too.
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def floor_of(module: str, prefix: str, floors: list[list[str]]) -> int | None:
    part = module.removeprefix(f"{prefix}.").split(".")[0]
    return next((number for number, names in enumerate(floors) if part in names), None)


@pytest.mark.parametrize("path", ENGINE, ids=module_name)
def test_no_file_of_the_engine_names_dagster(path: Path) -> None:
    foreign = {name for name in imports(path) if name.split(".")[0].startswith("dagster") and "dagster_hpc" not in name}
    assert not foreign
    known = ("engine", "local_batch", "step_batch", "version")  # the two batch systems of our own, beside the engine
    above = {name for name in imports(path) if name.startswith("dagster_hpc.") and name.split(".")[1] not in known}
    assert not above


def test_the_whole_engine_is_imported_without_dagster() -> None:
    modules = [module_name(path) for path in ENGINE if path.name != "__main__.py"]
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
packages = {{name.split(".")[0] for name in sys.modules}}
print(sorted(name for name in packages if name.startswith("dagster") and name != "dagster_hpc"))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (said.stdout.strip(), said.stderr) == ("[]", "")


@pytest.mark.parametrize("path", ENGINE, ids=module_name)
def test_a_file_of_the_engine_imports_only_from_floors_below(path: Path) -> None:
    mine = floor_of(module_name(path), "dagster_hpc.engine", ENGINE_FLOORS)
    for name in top_level_imports(path):
        theirs = floor_of(name, "dagster_hpc.engine", ENGINE_FLOORS) if name.startswith("dagster_hpc.engine.") else None
        assert mine is None or theirs is None or theirs <= mine, f"{module_name(path)} imports {name}"


def test_every_part_of_the_engine_is_on_a_floor() -> None:
    parts = {path.relative_to(PACKAGE / "engine").parts[0].removesuffix(".py") for path in ENGINE}
    assert sorted(parts - {"__init__"}) == sorted(part for floor in ENGINE_FLOORS for part in floor)


def test_no_two_parts_of_the_engine_know_each_other() -> None:
    """Not even in a circle of several, on one floor."""
    engine = "dagster_hpc.engine."
    known: dict[str, set[str]] = {}
    for path in ENGINE:
        mine = module_name(path).removeprefix(engine).split(".")[0]
        theirs = {name.removeprefix(engine).split(".")[0] for name in top_level_imports(path) if name.startswith(engine)}
        known.setdefault(mine, set()).update(theirs - {mine})
    TopologicalSorter(known).prepare()  # raises CycleError, which names them


def test_a_part_of_the_package_imports_only_from_floors_below() -> None:
    for path in PACKAGE.rglob("*.py"):
        mine = floor_of(module_name(path), "dagster_hpc", FLOORS)
        for name in top_level_imports(path):
            theirs = floor_of(name, "dagster_hpc", FLOORS) if name.startswith("dagster_hpc.") else None
            assert mine is None or theirs is None or theirs <= mine, f"{module_name(path)} imports {name}"


@pytest.mark.parametrize("path", SCHEDULERS, ids=module_name)
def test_a_scheduler_is_pure(path: Path) -> None:
    doing = {"subprocess", "time", "socket", "pathlib", "shutil", "os", "io"}
    assert not {name.split(".")[0] for name in imports(path)} & doing
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    assert not calls & {"open", "print", "sleep"}


@pytest.mark.parametrize("folder", sorted({path.parent for path in SCHEDULERS} - {ROOM}), ids=lambda path: path.name)
def test_every_system_has_the_same_rooms(folder: Path) -> None:
    assert {"__init__.py", "requests.py", "replies.py", "words.py"} <= {path.name for path in folder.glob("*.py")}
    assert len(ast.parse((folder / "__init__.py").read_text()).body) == 1  # its docstring


@pytest.mark.parametrize("path", SCHEDULERS, ids=module_name)
def test_words_are_known_to_replies_and_replies_to_requests(path: Path) -> None:
    order = ["words", "records", "replies", "requests"]
    mine = order.index(path.stem) if path.stem in order else len(order)
    named = {name.split(".")[4] for name in top_level_imports(path) if name.count(".") == 4 and ".schedulers." in name}
    assert all(order.index(name) <= mine for name in named if name in order)


def test_every_kind_has_checks() -> None:
    for kind in KINDS:
        assert probes(scheduler_class(kind)(), [Demand()], "me"), kind


@pytest.mark.parametrize("room", ["checks", "explain", "usage"])
def test_what_the_command_line_reads_names_no_dagster(room: str) -> None:
    for path in (PACKAGE / room).glob("*.py"):
        assert not {name for name in imports(path) if name.split(".")[0] == "dagster"}


def test_a_host_knows_no_scheduler() -> None:
    for path in (PACKAGE / "engine" / "hosts").glob("*.py"):
        named = {name for name in imports(path) if "schedulers." in name}
        assert all(name.startswith("dagster_hpc.engine.schedulers.base") for name in named)
