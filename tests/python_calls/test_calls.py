"""A function called on a node: what travels, what comes back, and what is told where it does not."""

from __future__ import annotations

import functools
import math
import operator
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import (
    CallFailed,
    ConfigurationError,
    ExecutionProfile,
    HPCJobRunner,
    JobFailed,
    JobTimedOut,
    OutputMissing,
    ValueUnreadable,
    WaitTimeout,
)
from tests.python_calls import functions
from tests.systems.needs import REPOSITORY


def test_a_function_is_run_on_the_node_and_its_value_returned(anywhere: HPCJobRunner) -> None:
    assert anywhere.call(functions.scaled, [1.0, 2.0], kwargs={"by": 3.0}, profile="plain") == [3.0, 6.0]
    (row,) = anywhere.jobs()
    assert (row.name, row.state.value) == ("scaled", "COMPLETED")


def test_a_partial_is_the_function_with_its_arguments(hpc: HPCJobRunner) -> None:
    tripled = functools.partial(functions.scaled, by=3.0)
    assert hpc.call(functools.partial(tripled, [2.0]), profile="small") == [6.0]


def test_a_lambda_and_what_it_encloses_travel_by_value(anywhere: HPCJobRunner) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    offset = 4
    moved = anywhere.call(lambda point: Point(point.x + offset), Point(3), profile="plain")
    assert (type(moved).__name__, moved.x) == ("Point", 7)


def test_a_method_and_an_object_that_can_be_called_travel_with_what_they_are(hpc: HPCJobRunner) -> None:
    assert hpc.call([3, 1, 2].count, 3, profile="small") == 1
    assert hpc.call(operator.itemgetter(1), "abc", profile="small") == "b"


def test_an_exception_is_raised_here_with_the_traceback_on_the_node(anywhere: HPCJobRunner) -> None:
    with pytest.raises(functions.NoSuchCrystal) as told:
        anywhere.call(functions.melts, "ice", profile="plain")
    assert (told.value.name, told.value.temperature) == ("ice", 273.15)
    cause = told.value.__cause__
    assert isinstance(cause, CallFailed)
    assert "in melts" in cause.traceback
    assert "worker.py" not in cause.traceback
    assert cause.result.exit_code == 1
    assert "NoSuchCrystal" in cause.result.stderr_tail
    assert cause.result.handle.job_id in str(cause)


def test_an_exception_that_cannot_travel_is_told_in_words(hpc: HPCJobRunner) -> None:
    with pytest.raises(CallFailed, match="raised Unsendable: too large a crystal"):
        hpc.call(functions.unsendable, profile="small")


def test_a_function_that_exits_has_no_value(hpc: HPCJobRunner) -> None:
    with pytest.raises(CallFailed, match=r"it called sys.exit\(0\) and returned nothing"):
        hpc.call(functions.leaves, 0, profile="small")


def test_a_process_that_ends_without_a_word_has_left_no_value(hpc: HPCJobRunner) -> None:
    with pytest.raises(OutputMissing, match="value"):
        hpc.call(functions.vanishes, profile="small")


def test_a_crash_shows_where_it_was(hpc: HPCJobRunner) -> None:
    with pytest.raises(JobFailed) as told:
        hpc.call(functions.crashes, profile="small")
    assert "in crashes" in told.value.result.stderr_tail


def test_a_job_that_is_ended_is_told_as_for_commands(hpc: HPCJobRunner, tmp_path: Path) -> None:
    with pytest.raises(JobTimedOut):
        hpc.call(functions.waits_for, str(tmp_path / "never"), 1, profile="small", overrides={"walltime": "1"})


def test_the_end_of_the_callers_patience_is_not_that_of_the_call(hpc: HPCJobRunner, tmp_path: Path) -> None:
    future = hpc.submit_call(functions.waits_for, str(tmp_path / "go"), 5, profile="small")
    with pytest.raises(WaitTimeout):
        future.result(timeout=0.5)
    (tmp_path / "go").touch()
    assert future.result() == 5


def test_an_argument_that_cannot_travel_is_named_before_there_is_a_job(hpc: HPCJobRunner) -> None:
    with pytest.raises(ConfigurationError, match=r"argument 2 of tests.python_calls.functions.traced cannot be pickled"):
        hpc.call(functions.traced, "path", threading.Lock(), profile="small")
    assert hpc.jobs() == []


def test_what_is_no_function_is_refused(hpc: HPCJobRunner) -> None:
    with pytest.raises(ConfigurationError, match="22 is no function"):
        hpc.call(22, profile="small")  # type: ignore[arg-type]


def test_a_value_that_cannot_travel_is_told_by_the_node(hpc: HPCJobRunner) -> None:
    with pytest.raises(CallFailed, match=r"it returned what cannot be pickled \(lock\)"):
        hpc.call(threading.Lock, profile="small")


def test_a_value_that_cannot_be_read_here_stays_where_it_is(hpc: HPCJobRunner, tmp_path: Path) -> None:
    (tmp_path / "only_there.py").write_text("class Thing: pass\n")

    def made(folder: str) -> Any:
        sys.path.append(folder)
        return __import__("only_there").Thing()

    with pytest.raises(ValueUnreadable, match="only_there"):
        hpc.call(made, str(tmp_path), profile="small")


def test_a_large_value_goes_by_a_file_that_is_private(hpc: HPCJobRunner) -> None:
    future = hpc.submit_call(functions.big, 30_000_000, profile="small")
    assert len(future.result()) == 30_000_000
    folder = Path(future.handle.work_dir)
    assert (folder / "stdout.log").stat().st_size == 0
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder / ".call").iterdir()} == {0o600}


def test_the_options_of_a_job_are_those_of_a_call(hpc: HPCJobRunner) -> None:
    def read() -> str:
        return Path("seed").read_text() + os.environ["MODE"]

    profile = ExecutionProfile(environments={"MODE": "fast"})
    assert hpc.call(read, profile=profile, inputs={"seed": "17 "}) == "17 fast"


def test_modules_among_the_inputs_are_found(hpc: HPCJobRunner) -> None:
    def doubled(x: int) -> int:
        import beside

        return int(beside.doubled(x))

    assert hpc.call(doubled, 4, profile="small", inputs={"beside.py": "def doubled(x): return 2 * x\n"}) == 8


def test_a_function_beside_assets_travels_without_dagster(hpc: HPCJobRunner, module: Any) -> None:
    exec("import sys\nimport dagster as dg\ndef imported(x: dg.Config): return 'dagster' in sys.modules", vars(module))
    assert hpc.call(module.imported, 0, profile="small") is False


# -- another version of the function there


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the user's, in a folder that the node sees."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "crystals.py").write_text("def grown():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "project"))
    yield __import__("crystals")
    sys.modules.pop("crystals")


def test_a_module_that_is_not_installed_is_found_in_the_folder_it_has_here(hpc: HPCJobRunner, module: Any) -> None:
    assert hpc.call(module.grown, profile="small") == 1


def test_so_is_one_that_was_loaded_from_a_file_that_is_on_no_path(
    hpc: HPCJobRunner, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[1:])
    assert hpc.call(module.grown, profile="small") == 1


def test_another_version_of_the_function_there_is_an_error(hpc: HPCJobRunner, module: Any, tmp_path: Path) -> None:
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "crystals.py").write_text("def grown():\n    return 2\n")
    profile = ExecutionProfile(environments={"PYTHONPATH": str(tmp_path / "installed")})
    with pytest.raises(CallFailed, match=r"the node has another version of it, in .*installed/crystals\.py"):
        hpc.call(module.grown, profile=profile)


def test_a_module_that_is_not_there_is_an_error(hpc: HPCJobRunner, module: Any) -> None:
    Path(module.__file__).rename(Path(module.__file__).with_name("renamed.py"))
    with pytest.raises(CallFailed, match=r"it cannot be imported on the node: No module named 'crystals'"):
        hpc.call(module.grown, profile="small")


def test_a_secret_is_told_in_no_traceback(hpc: HPCJobRunner) -> None:
    def reveals() -> None:
        raise RuntimeError("wrong password " + os.environ["PASSWORD"])

    profile = ExecutionProfile(environments={"PASSWORD": "hunter2000"}, secret_environments=["PASSWORD"])
    with pytest.raises(RuntimeError) as told:
        hpc.call(reveals, profile=profile)
    assert "wrong password" in str(told.value.__cause__)
    assert "hunter2000" not in str(told.value.__cause__)


# -- the same call once more


def test_the_same_call_is_not_run_again_where_results_are_kept(hpc: HPCJobRunner, tmp_path: Path) -> None:
    trace = str(tmp_path / "trace")
    for _ in range(2):
        assert hpc.call(functions.traced, trace, {"b", "a"}, profile="small", reuse="succeeded") == {"a", "b"}
    hpc.call(functions.traced, trace, {"a"}, profile="small", reuse="succeeded")
    assert Path(trace).read_text() == "xx"


def test_without_that_every_call_is_run(hpc: HPCJobRunner, tmp_path: Path) -> None:
    trace = str(tmp_path / "trace")
    for _ in range(2):
        hpc.call(functions.traced, trace, 1, profile="small")
    assert Path(trace).read_text() == "xx"


def test_another_text_of_the_function_is_another_call(hpc: HPCJobRunner) -> None:
    versions = []
    for text in ("lambda: 1", "lambda: 2", "lambda: 1"):
        versions.append(hpc.call(eval(text), profile="small", reuse="succeeded"))
    assert versions == [1, 2, 1]
    assert len(hpc.jobs()) == 2


SAME = """
import sys
from dagster_hpc.python_calls.pack import packed

class Point:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return self.x == other.x

def moved(points): return {point.x: Point(point.x + 1) for point in points}

call = packed(moved, [[Point(1), Point(2)], {"b", "a", "c"}], {"names": frozenset({"x", "y", "z"})})
print(call.digest)
"""


def test_equal_calls_are_equal_whichever_process_makes_them(tmp_path: Path) -> None:
    """Or the next attempt of a step would not find its job: also where classes travel by value, and with sets of texts."""
    (tmp_path / "same.py").write_text(SAME)

    def told(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run([sys.executable, tmp_path / "same.py"], env=environment, capture_output=True, check=True)
        return done.stdout.decode()

    assert told("1") == told("2")


def test_two_of_one_key_join(hpc: HPCJobRunner, tmp_path: Path) -> None:
    go = tmp_path / "go"
    first, second = (hpc.submit_call(functions.waits_for, str(go), 7, profile="small", key="k") for _ in range(2))
    assert (second.handle.token, second.handle.joined) == (first.handle.token, True)
    go.touch()
    assert (first.result(), second.result()) == (7, 7)


def test_a_function_of_c_needs_nothing_there(hpc: HPCJobRunner, bare_python: str) -> None:
    profile = ExecutionProfile(python=bare_python)
    assert hpc.call(math.gcd, 12, 18, profile=profile) == 6
