"""The wheel: what is in it, and that it works outside the checkout, where no template lies beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

import dagster_hpc

REPOSITORY = Path(__file__).parents[2]
SPEC = "JobSpec(name='x', executable='/bin/true', nodes=2, launcher='srun')"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    argv = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    built = subprocess.run(argv, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed into a folder of its own; its dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("site")
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*argv, str(wheel)], check=True)
    return folder


def python(code: str, cwd: Path, path: Path | None = None) -> str:
    """What a new interpreter prints; with `path`, it finds the installed wheel before the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wheel_metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_string(archive.read(name).decode())


def rendering(scheduler: str) -> str:
    return f"""
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.{scheduler.lower()}.requests import {scheduler}
from dagster_hpc.engine.script import render_script
print(render_script({SPEC}, {scheduler}(), directory="/scratch/x", token="abcd2345"), end="")
"""


def test_the_templates_and_the_type_marker_travel_inside(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    templates = {f"dagster_hpc/templates/{path.name}" for path in (REPOSITORY / "templates").glob("*.j2")}
    assert templates
    assert templates <= names
    assert "dagster_hpc/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_nothing_else_travels_along(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dagster_hpc"}


@pytest.mark.parametrize("scheduler", ["Slurm", "Local"])
def test_the_installed_wheel_renders_the_same_script_as_the_checkout(
    site: Path, tmp_path: Path, scheduler: str
) -> None:
    script = python(rendering(scheduler), tmp_path, site)
    assert script == python(rendering(scheduler), REPOSITORY)
    assert script.startswith("#!/bin/bash\n")


def test_it_is_the_wheel_that_was_used(site: Path, tmp_path: Path) -> None:
    said = python("import dagster_hpc.engine.script as s; print(s.__file__, s.templates_folder())", tmp_path, site)
    assert said.split() == [f"{site}/dagster_hpc/engine/script.py", f"{site}/dagster_hpc/templates"]


def test_a_job_runs_from_the_installed_wheel(site: Path, tmp_path: Path) -> None:
    code = f"""
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget
hpc = HPCJobRunner(target=LocalTarget(spool="{tmp_path}/spool"), work_root="{tmp_path}/work",
                   ledger_url="sqlite:///{tmp_path}/ledger.db")
print(hpc.run(Command.shell("echo it runs"), profile=ExecutionProfile()).stdout_tail)
"""
    assert python(code, tmp_path, site) == "it runs\n"


def test_the_version_is_told_in_one_place(wheel: Path, site: Path, tmp_path: Path) -> None:
    said = python("import dagster_hpc; print(dagster_hpc.__version__)", tmp_path, site).strip()
    assert said == wheel_metadata(wheel)["Version"] == dagster_hpc.__version__


def test_dependencies_are_found_in_any_index_and_pinned_to_no_version(wheel: Path) -> None:
    # the predecessor could only be installed without its dependencies
    required = wheel_metadata(wheel).get_all("Requires-Dist") or []
    assert required
    assert not [line for line in required if "@" in line or "==" in line.split(";")[0]]


def test_the_command_line_is_installed(site: Path) -> None:
    (entry_points,) = site.glob("dagster_hpc-*.dist-info/entry_points.txt")
    assert "dagster-hpc = dagster_hpc.cli" in entry_points.read_text()


# -- what importing it costs

LOADED = (
    "import sys; print(sorted({name.split('.')[0] for name in sys.modules} & {'dagster', 'pydantic', 'sqlalchemy'}))"
)


@pytest.mark.parametrize(
    "statement",
    [
        "import dagster_hpc",
        "import dagster_hpc; dagster_hpc.__version__; dir(dagster_hpc)",
        "from dagster_hpc import JobFailed, JobState, WaitTimeout",
    ],
)
def test_the_package_and_its_errors_cost_nothing(statement: str, tmp_path: Path) -> None:
    assert python(f"{statement}; {LOADED}", tmp_path).strip() == "[]"


@pytest.mark.parametrize("module", ["engine.runner", "engine.ledger", "cli"])
def test_engine_and_command_line_do_without_dagster(module: str, tmp_path: Path) -> None:
    assert "dagster'" not in python(f"import dagster_hpc.{module}; {LOADED}", tmp_path)


def test_every_public_name_is_there() -> None:
    assert set(dir(dagster_hpc)) == set(dagster_hpc.__all__)
    assert all(getattr(dagster_hpc, name) is not None for name in dagster_hpc.__all__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        dagster_hpc.nonsense  # noqa: B018


def test_type_checkers_see_the_names_that_are_handed_on_lazily() -> None:
    source = Path(dagster_hpc.__file__).read_text()
    typed = source.partition("if TYPE_CHECKING:")[2].partition("_HOME")[0]
    assert all(name in typed for name in dagster_hpc.__all__ if name != "__version__")


def test_dagster_lists_the_library_once_a_name_of_dagsters_is_used(tmp_path: Path) -> None:
    code = """
from dagster_shared.libraries import DagsterLibraryRegistry
import dagster_hpc
print("dagster-hpc" in DagsterLibraryRegistry.get())
dagster_hpc.HPCJobRunner
print(DagsterLibraryRegistry.get()["dagster-hpc"] == dagster_hpc.__version__)
"""
    assert python(code, tmp_path).split() == ["False", "True"]


def test_dg_finds_the_component_of_the_wheel(site: Path, tmp_path: Path) -> None:
    code = """
from dagster.components.core.package_entry import discover_entry_point_package_objects
print(sorted(f"{key.namespace}.{key.name}" for key in discover_entry_point_package_objects()))
"""
    assert "'dagster_hpc.HPCJobComponent'" in python(code, tmp_path, site)
