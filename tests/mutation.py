"""Are the tests able to notice that the engine is wrong? Its rules are broken, one after the other, to find out.

`python -m tests.mutation [--module verdict] [--lines 40-60] [--jobs 2]` prints how many of these mutants were noticed,
and which were not. The modules are those that promise that no job runs twice, none is lost and none misjudged.

Each mutant lives in a copy of the package, in a process of its own. The tests that pass the broken statement try it, the
quickest first; then as many simulated histories that pass it. What they pass is recorded once, before anything is broken.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import contextlib
import copy
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = "dagster_hpc/engine"
MODULES = {
    "verdict": (f"{ENGINE}/observe/verdict.py", ("verdict", "wait", "findings")),
    "claims": (f"{ENGINE}/ledger/claims.py", ("ledger", "submit", "findings")),
    "send": (f"{ENGINE}/submit/send.py", ("submit", "findings", "wait")),
    "recover": (f"{ENGINE}/submit/recover.py", ("submit", "findings", "wait")),
    "claim": (f"{ENGINE}/submit/claim.py", ("submit", "identity", "findings")),
}
# What the package needs and what is not mutated is imported once, and is there in each process that is forked off.
HEAVY = ("click", "greenlet", "hypothesis.strategies", "jinja2", "pydantic", "rich.console", "rich.table",
         "sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite", "xml.etree.ElementTree")  # fmt: skip
TESTS_S = 12.0  # what the tests of one mutant may take together, unless told
HISTORIES = 25  # that a mutant has to live through, unless told
SEEDS = 150  # of random histories to choose from, beside those in which processes die at named points
HISTORY_S = 20.0

SURVIVED, TESTS, SIMULATION, TIMEOUT = "survived", "tests", "simulation", "timeout"
_EXIT = {0: SURVIVED, 3: SIMULATION, -signal.SIGALRM: TIMEOUT}  # any other end of the process: the tests saw it


# -- mutants


@dataclass(frozen=True)
class Mutant:
    """One fault: where it is, what it changes, and all of the module with it."""

    module: str
    line: int
    statement: int  # the line of the statement that it is in; 0: what is done on import
    before: str
    after: str
    source: str = field(repr=False)

    def __str__(self) -> str:
        return f"{MODULES[self.module][0]}:{self.line}  {self.before} -> {self.after}"


SWAPPED: dict[type, tuple[type, ...]] = {
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.And: (ast.Or,), ast.Or: (ast.And,), ast.Add: (ast.Sub,), ast.Sub: (ast.Add,),
}  # fmt: skip
NAMES = {
    "min": "max", "max": "min", "any": "all", "all": "any", "in_": "not_in", "not_in": "in_", "is_not": "is_",
    "COMPLETED": "FAILED", "FAILED": "COMPLETED", "CANCELLED": "FAILED", "LOST": "CANCELLED", "REFUSED": "CANCELLED",
    "READY": "SUBMITTING", "SUBMITTING": "READY", "PENDING": "RUNNING", "RUNNING": "PENDING", "HELD": "PENDING",
    "_READY": "_SUBMITTING", "_SUBMITTING": "_READY", "TIMEOUT": "OOM", "OOM": "TIMEOUT", "NODE_FAIL": "OOM",
    "PREEMPTED": "OOM", "UNKNOWN": "RUNNING",
}  # fmt: skip
WORDS = {"advice", "work_dir", "thread_name_prefix"}  # arguments that only tell or name something
UNSEEN = {"on_warning", "point"}  # calls that change nothing: words to a listener, and places to die at in a test
NO_CODE = {"annotation", "returns", "decorator_list", "type_comment", "ctx", "slice"}


def like(node: Any, **changes: object) -> Any:
    """The same piece of code, but for this."""
    new = copy.copy(node)
    for name, value in changes.items():
        setattr(new, name, value)
    return new


def without_each(items: Sequence[Any], least: int = 1) -> Iterator[list[Any]]:
    """These, each of them left out once; at least so many have to remain."""
    if len(items) > least:
        for place in range(len(items)):
            yield [*items[:place], *items[place + 1 :]]


def broken(node: ast.AST, is_test: bool = False) -> Iterator[Any]:
    """What may stand in the place of this piece of code and is wrong."""
    match node:
        case ast.Compare(ops=[operator]):
            yield from (like(node, ops=[other()]) for other in SWAPPED.get(type(operator), ()))
        case ast.BoolOp(op=operator, values=values):
            yield like(node, op=SWAPPED[type(operator)][0]())
            for left in without_each(values):
                yield like(node, values=left) if len(left) > 1 else left[0]
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr(), left=left, right=right):
            yield from (left, right)
        case ast.BinOp(op=operator) if type(operator) in SWAPPED:
            yield like(node, op=SWAPPED[type(operator)][0]())
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            yield inner
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Name(id=name) if name in NAMES:
            yield ast.Name(NAMES[name])
        case ast.Attribute(attr=name) if name in NAMES:
            yield like(node, attr=NAMES[name])
        case ast.Tuple(elts=items, ctx=ast.Load()) if all(isinstance(item, ast.Attribute | ast.Name) for item in items):
            yield from (like(node, elts=left) for left in without_each(items))
        case ast.Dict(keys=keys):
            for place in range(len(keys)):
                yield ast.Dict([*keys[:place], *keys[place + 1 :]], [*node.values[:place], *node.values[place + 1 :]])
        case ast.Call():
            yield from _broken_calls(node)
        case ast.IfExp(body=body, orelse=other):
            yield from (body, other)
        case ast.comprehension(ifs=ifs) if ifs:
            yield from (like(node, ifs=left) for left in without_each(ifs, 0))
        case ast.If(test=test) | ast.While(test=test) if not isinstance(test, ast.Constant):
            yield from (like(node, test=ast.Constant(value)) for value in (True, False))
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            yield ast.Return(ast.UnaryOp(ast.Not(), value) if is_test else ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.Return(value=None):
            yield ast.Pass()


def _broken_calls(call: ast.Call) -> Iterator[ast.expr]:
    for keywords in without_each(call.keywords, 0):
        gone = next(word for word in call.keywords if word not in keywords)
        if gone.arg not in WORDS:
            yield like(call, keywords=keywords)
    match call.func:
        case ast.Attribute(attr="where", value=query):
            yield from (like(call, args=left) for left in without_each(call.args))
            if len(call.args) == 1:
                yield query
        case ast.Attribute(attr="order_by"):
            yield from (like(call, args=left) for left in without_each(call.args))


def mutants_of(module: str) -> list[Mutant]:
    tree = ast.parse((ROOT / MODULES[module][0]).read_text())
    found: dict[str, Mutant] = {}
    for parent, name, place, statement, is_test in _places(tree):
        value = getattr(parent, name)
        node = value if place is None else value[place]
        for instead in broken(node, is_test):
            setattr(parent, name, instead if place is None else [*value[:place], instead, *value[place + 1 :]])
            source = ast.unparse(ast.fix_missing_locations(tree))
            words = [ast.unparse(one).splitlines()[0] if one is not None else "" for one in (node, instead)]
            line = getattr(node, "lineno", statement)
            found.setdefault(source, Mutant(module, line, statement, *words, source))
        setattr(parent, name, value)
    return sorted(found.values(), key=lambda mutant: mutant.line)


def _places(
    node: ast.AST, statement: int = 0, is_test: bool = False
) -> Iterator[tuple[ast.AST, str, int | None, int, bool]]:
    """Each place in the tree that may be broken: parent, field, index; its statement, and whether that answers yes or no."""
    for name, value in ast.iter_fields(node):
        for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if name in NO_CODE or not isinstance(child, ast.AST) or _only_tells(child):
                continue
            within, answers = statement, is_test
            if isinstance(child, ast.stmt):
                within = 0 if isinstance(node, ast.Module | ast.ClassDef) else child.lineno
            if isinstance(child, ast.FunctionDef):
                answers = isinstance(child.returns, ast.Name) and child.returns.id == "bool"
            yield node, name, place, within, answers
            yield from _places(child, within, answers)


def _only_tells(node: ast.AST) -> bool:
    """Whether this is of no consequence but for the words that somebody reads."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name))) if name in UNSEEN:
            return True
        case ast.Expr(value=ast.Constant()) | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return True
    return False


def marked(source: str, module: str) -> str:
    """The module, noting each statement that it passes."""

    def mark(node: ast.AST) -> None:
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):
                for each in statements:
                    mark(each)
                if not isinstance(node, ast.Module | ast.ClassDef):
                    setattr(node, name, [new for each in statements for new in (_mark(module, each.lineno), each)])
        for handler in getattr(node, "handlers", ()):
            mark(handler)

    tree = ast.parse(source)
    mark(tree)
    return ast.unparse(ast.fix_missing_locations(tree))


def _mark(module: str, line: int) -> ast.stmt:
    return ast.parse(f"__import__('builtins').__dict__.setdefault('passed', set()).add('{module}:{line}')").body[0]


# -- a copy of the package, and processes that live in it


class Place:
    """A copy of the package, of which one module at a time is another."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dagster-hpc-mutants-")
        self.path = Path(self._folder.name)
        for name in ("dagster_hpc", "templates"):
            shutil.copytree(ROOT / name, self.path / name, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(self.path, quiet=1)
        for path, _ in MODULES.values():  # two sources of one second and one size would be taken for the same
            for compiled in (self.path / path).parent.glob(f"__pycache__/{Path(path).stem}.*"):
                compiled.unlink()

    def run(self, sources: Mapping[str, str], work: Callable[[], int]) -> int:
        """Do this in a new process, for which these modules are as told; its exit code, negative: the signal."""
        for module, source in sources.items():
            (self.path / MODULES[module][0]).write_text(source)
        try:
            child = os.fork()
            if not child:
                self._live(work)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # and all that it has started
            return code
        finally:
            for module in sources:
                shutil.copy(ROOT / MODULES[module][0], self.path / MODULES[module][0])

    def _live(self, work: Callable[[], int]) -> None:
        code = 1
        try:
            os.setsid()
            if not os.environ.get("DAGSTER_HPC_MUTANTS_TELL"):
                nowhere = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1, 2):
                    os.dup2(nowhere, stream)
            os.environ.update(PYTHONPATH=str(self.path), PYTHONDONTWRITEBYTECODE="1")
            sys.dont_write_bytecode = True
            sys.path.insert(0, str(self.path))
            assert str(importlib.import_module("dagster_hpc").__file__).startswith(str(self.path))
            code = work()
        finally:
            os._exit(code)


class Watch:
    """Looks on while tests run: what each takes and passes, and that none takes for ever."""

    def __init__(self, limits: Mapping[str, float]) -> None:
        self.limits, self.seen = limits, dict[str, dict[str, Any]]()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        signal.alarm(int(self.limits.get(item.nodeid, 60.0)) + 1)
        passed = _passed()
        passed.clear()
        since = time.monotonic()
        result = yield
        signal.alarm(0)
        seen = self.seen.setdefault(item.nodeid, {"good": False})
        seen.update(seconds=time.monotonic() - since, passed=sorted(passed))
        return result  # type: ignore[return-value]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.seen.setdefault(report.nodeid, {})["good"] = report.passed


def _passed() -> set[str]:
    import builtins

    return builtins.__dict__.setdefault("passed", set())  # type: ignore[no-any-return]


def _pytest(arguments: Sequence[str], watch: Watch, folder: Path) -> int:
    plain = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={folder}/tests", f"--rootdir={ROOT}"]
    return int(pytest.main([*plain, *arguments], plugins=[watch]))


# -- what passes which statement


@dataclass(frozen=True)
class Record:
    """For each test and each history: the statements that it passes, and how long it takes."""

    tests: dict[str, dict[str, Any]]
    points: list[str]
    histories: list[list[str]]
    seconds: float = TESTS_S  # for the tests of one mutant
    most: int = HISTORIES

    def tests_of(self, mutant: Mutant) -> dict[str, float]:
        """The tests that pass the mutant's statement, the quickest first, and as many as there is time for."""
        able = ((each["seconds"], name) for name, each in self.tests.items() if self._tries(mutant, each))
        chosen: dict[str, float] = {}
        for seconds, name in sorted(able):
            if sum(chosen.values()) + seconds > self.seconds:
                break
            chosen[name] = seconds
        return chosen

    def histories_of(self, mutant: Mutant) -> list[int]:
        found = [number for number, passed in enumerate(self.histories) if self._passes(mutant, passed)]
        step = max(1.0, len(found) / (self.most or 1))
        return [found[int(place * step)] for place in range(min(self.most, len(found)))]

    def _tries(self, mutant: Mutant, test: Mapping[str, Any]) -> bool:
        return bool(test["good"]) and self._passes(mutant, test["passed"])

    @staticmethod
    def _passes(mutant: Mutant, passed: Sequence[str]) -> bool:
        if not mutant.statement:
            return any(one.startswith(f"{mutant.module}:") for one in passed)
        return f"{mutant.module}:{mutant.statement}" in passed


def record(modules: Sequence[str], place: Place, seconds: float, most: int) -> Record:
    """Let all tests and histories run with the modules as they are."""
    sources = {module: marked((ROOT / MODULES[module][0]).read_text(), module) for module in modules}
    files = sorted({f"tests/engine/test_{name}.py" for module in modules for name in MODULES[module][1]})

    def tests() -> int:
        watch = Watch({})
        _pytest([*files, "-k", "not postgres"], watch, place.path)
        (place.path / "tests.json").write_text(json.dumps(watch.seen))
        return 0

    def histories() -> int:
        from tests.simulation.database import Storage
        from tests.simulation.histories import all_points, breaks

        storage, passed = Storage(), []
        points = all_points(storage) if most else []
        for plan in plans(points) if most else ():
            _passed().clear()
            why = breaks(plan, storage)
            passed.append([] if why else sorted(_passed()))
        (place.path / "histories.json").write_text(json.dumps([points, passed]))
        return 0

    for work in (tests, histories):
        if place.run(sources, work) != 0:
            raise SystemExit(f"The {work.__name__} cannot be recorded")
    told = json.loads((place.path / "tests.json").read_text())
    return Record(told, *json.loads((place.path / "histories.json").read_text()), seconds, most)


def plans(points: Sequence[str]) -> list[Any]:
    """Histories of every kind: random ones, and those in which one or two processes die at a named point."""
    from tests.simulation.cluster import Lies
    from tests.simulation.histories import VERBS, Actor, Plan, plan_of

    found = [plan_of(seed, points) for seed in range(SEEDS)]
    third = Actor("run", "a", "h2", begins=40.0)
    for number, first in enumerate(points):
        for verb in VERBS:
            dies = None if verb == "cancel" else (first, 1)
            actors = (
                Actor("run", "a", "h1", dies_at=dies),
                Actor(verb, "a", "h1", begins=5.0, dies_at=(first, 1)),
                third,
            )
            found.append(Plan(number, actors, room=2))
        for second in points[number % 4 :: 4]:
            actors = (
                Actor("run", "a", "h1", dies_at=(first, 1)),
                Actor("run", "a", "h1", begins=1.0, dies_at=(second, 1)),
            )
            found.append(Plan(number, (*actors, third), lies=Lies(lost_after=0.5), work_s=30.0))
    return found


# -- each mutant is tried


def fate(mutant: Mutant, known: Record, place: Place) -> str:
    """Who noticed that it is wrong, if anybody."""
    return _EXIT.get(place.run({mutant.module: mutant.source}, lambda: _try(mutant, known, place.path)), TESTS)


def _try(mutant: Mutant, known: Record, folder: Path) -> int:
    tests = known.tests_of(mutant)
    watch = Watch({name: 8.0 + 3 * seconds for name, seconds in tests.items()})
    if tests and _pytest(["-x", *tests], watch, folder) != 0:
        return 1
    if not known.points:
        return 0
    from tests.simulation.database import Storage
    from tests.simulation.histories import breaks

    storage, all_plans = Storage(), plans(known.points)
    for number in known.histories_of(mutant):
        signal.alarm(int(HISTORY_S))
        try:
            why = breaks(all_plans[number], storage)
        except Exception as error:  # noqa: BLE001 - an engine that is wrong may raise anything
            why = repr(error)
        if why:
            return 3
    return 0


_KNOWN: Record
_PLACE: Place


def _begin(known: Record) -> None:
    global _KNOWN, _PLACE  # of one worker
    _KNOWN, _PLACE = known, Place()


def _fate(mutant: Mutant) -> tuple[Mutant, str, float]:
    since = time.monotonic()
    return mutant, fate(mutant, _KNOWN, _PLACE), time.monotonic() - since


def try_all(mutants: Sequence[Mutant], known: Record, jobs: int) -> Iterator[tuple[Mutant, str, float]]:
    # Not a Pool, whose processes may have none of their own: some tests start several.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"), _begin, (known,)) as pool:
        yield from pool.map(_fate, mutants)


# -- and told


def table(fates: Sequence[tuple[Mutant, str]]) -> str:
    lines = [f"{'module':10}{'mutants':>10}{'tests':>10}{'simulation':>12}{'timeout':>10}{'survived':>10}"]
    for module in dict.fromkeys(mutant.module for mutant, _ in fates):
        counts = Counter(end for mutant, end in fates if mutant.module == module)
        numbers = (counts.total(), counts[TESTS], counts[SIMULATION], counts[TIMEOUT], counts[SURVIVED])
        lines.append("{:10}{:>10}{:>10}{:>12}{:>10}{:>10}".format(module, *numbers))
    return "\n".join([*lines, "", *(str(mutant) for mutant, end in fates if end == SURVIVED)])


def main() -> None:
    parser = argparse.ArgumentParser(description="Break the engine's rules one by one, and see who notices.")
    parser.add_argument("--module", action="append", choices=MODULES, help="only this one; may be given again")
    parser.add_argument("--lines", default="1-9999", help="only mutants on these lines: 40-60 or 40")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--seconds", type=float, default=TESTS_S, help="for the tests of one mutant")
    parser.add_argument("--histories", type=int, default=HISTORIES, help="for one mutant to live through")
    parser.add_argument("--tell", action="store_true", help="what becomes of each, as it happens")
    options = parser.parse_args()
    for name in HEAVY:
        importlib.import_module(name)
    modules = options.module or list(MODULES)
    first, _, last = options.lines.partition("-")
    lines = range(int(first), int(last or first) + 1)
    mutants = [mutant for module in modules for mutant in mutants_of(module) if mutant.line in lines]
    fates, known = [], record(modules, Place(), options.seconds, options.histories)
    whole = [Mutant(module, 0, 0, "", "", (ROOT / MODULES[module][0]).read_text()) for module in modules]
    for mutant, end, _ in try_all(whole, known, options.jobs):
        if end != SURVIVED:  # else no more is known of a mutant by that
            raise SystemExit(f"{MODULES[mutant.module][0]} as it is does not get through its own: {end}")
    for mutant, end, seconds in try_all(mutants, known, options.jobs):
        fates.append((mutant, end))
        if options.tell:
            print(f"{len(fates)}/{len(mutants)} {end:10} {seconds:5.1f} s  {mutant}", flush=True)
    print(table(fates))


if __name__ == "__main__":
    main()
