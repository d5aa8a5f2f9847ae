"""Which Python runs a function, and what is told where it cannot."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from dagster_hpc import CallFailed, ConfigurationError, ExecutionProfile, HPCJobRunner, LocalTarget, SlurmTarget
from dagster_hpc.python_calls import worker
from dagster_hpc.resources.targets.base import HPCTarget
from tests.python_calls import functions

OLD = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))


def interpreter(target: HPCTarget, **profile: str) -> tuple[str, ...]:
    return target.interpreter(ExecutionProfile(**profile))


def test_the_profiles_python_is_before_the_targets_and_that_before_the_default() -> None:
    assert interpreter(SlurmTarget(python="/apps/python"), python="/opt/python") == ("/opt/python",)
    assert interpreter(SlurmTarget(python="/apps/python")) == ("/apps/python",)
    assert interpreter(SlurmTarget()) == ("/usr/bin/env", "python3")
    assert interpreter(SlurmTarget(executable_map={"py": "/apps/py"}, python="py")) == ("/apps/py",)


def test_on_this_machine_it_is_the_one_that_asks_but_in_a_container_it_is_the_containers() -> None:
    assert interpreter(LocalTarget()) == (sys.executable,)
    assert interpreter(LocalTarget(), container="image.sif") == ("/usr/bin/env", "python3")


def test_a_word_is_found_where_the_pre_commands_have_put_it(hpc: HPCJobRunner, bare_python: str) -> None:
    profile = ExecutionProfile(python="bare-python", pre_commands=[f"export PATH={Path(bare_python).parent}:$PATH"])
    assert hpc.call(os.getenv, "PATH", profile=profile).startswith(str(Path(bare_python).parent))


def test_one_that_cannot_take_what_travels_by_value_is_an_error_before_there_is_a_job(
    hpc: HPCJobRunner, bare_python: str
) -> None:
    with pytest.raises(ConfigurationError, match="cloudpickle is not installed on the node"):
        hpc.call(lambda: 1, profile=ExecutionProfile(python=bare_python))
    assert hpc.jobs() == []


def test_it_is_asked_once(hpc: HPCJobRunner, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    profile = ExecutionProfile(pre_commands=[f'[ -n "$HPC_JOB_DIR" ] || echo x >>{asked}'])
    assert [hpc.call(lambda: 1, profile=profile) for _ in range(2)] == [1, 1]
    assert asked.read_text().split() == ["x"]


def test_one_that_cannot_be_asked_here_says_the_same_on_the_node(hpc: HPCJobRunner, bare_python: str) -> None:
    profile = ExecutionProfile(python=bare_python, pre_commands=['[ -n "$HPC_JOB_DIR" ]'])
    with pytest.raises(CallFailed, match="cloudpickle is not installed on the node"):
        hpc.call(lambda: 1, profile=profile)


def test_another_minor_version_of_python_does_not_match() -> None:
    wanted = {"python": [3, 11], "cloudpickle": "3.1.3"}
    assert worker.mismatch(wanted, [3, 11], "3.0.0") == ""
    assert worker.mismatch(wanted, (3, 9), "2.2.1") == (
        "Python is 3.11 here and 3.9 on the node, and cloudpickle is 3.1.3 here and 2.2.1 on the node"
    )


@pytest.mark.parametrize("python", OLD, ids=lambda path: path.parts[-3])
def test_what_is_imported_there_runs_on_any_python(hpc: HPCJobRunner, python: Path) -> None:
    assert hpc.call(shutil.which, "no-such-program", profile=ExecutionProfile(python=str(python))) is None


def test_the_worker_needs_nothing_but_the_standard_library() -> None:
    text = Path(worker.__file__).read_text()
    imported = set(re.findall(r"^\s*(?:import|from) ([\w.]+)", text, re.MULTILINE))
    assert {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names) == {"mpi4py"}


def test_without_cloudpickle_here_it_is_named(hpc: HPCJobRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(ConfigurationError, match=r"cloudpickle is not installed here[\s\S]*dagster-hpc\[functions\]"):
        hpc.call(lambda: 1, profile="small")
    assert hpc.call(functions.scaled, [1.0], profile="small") == [1.0]
