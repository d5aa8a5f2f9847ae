"""Every public name says what it is, and shows in an example, which is run, how it is used."""

from __future__ import annotations

import importlib
import inspect
import math
import textwrap
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import Field

import dagster_hpc
import dagster_hpc.testing
from dagster_hpc.testing import Play, PlayedRunner, Submitted
from tests.docs import chemistry

PACKAGES = ("dagster_hpc", "dagster_hpc.testing")

# What becomes of the programs that examples name; all others leave their outputs and end well.
PLAYED = {
    "faulty": Play(exit_code=3),
    "forgetful": Play(),
    "too-slow": Play(state="TIMEOUT"),
    "too-large": Play(state="OOM"),
    "unlucky": Play(state="NODE_FAIL"),
    "cancelled": Play(state="CANCELLED"),
    "lost": Play(state="LOST"),
    "refused": Play(refused="invalid account"),
    "endless": Play(state="RUNNING"),
    "gcd": Play(returns=6),
    "sqrt": Play(raises=ValueError("math domain error")),
    "unreadable": Play(outputs={"value": "of another Python"}),
}

NOT_PLAYED = (dagster_hpc.LedgerError, dagster_hpc.SchedulerUnavailable)  # there is neither in the process of a test


def well(job: Submitted) -> Play:
    """Ends well, with something in each of its outputs."""
    return Play(outputs=dict.fromkeys(job.outputs.values(), "{}"))


def played(folder: Path, **options: Any) -> PlayedRunner:
    """A runner for which everything in PLAYED ends so at its first attempt, and well at the second."""
    hpc = PlayedRunner(folder, **options)
    hpc.play("*", well)
    for name, play in PLAYED.items():
        hpc.play(name, play, play if name in ("lost", "endless") else well)
    return hpc


def unreadable() -> None:
    """Returns what only the node can read."""


def prepared(folder: Path) -> dict[str, Any]:
    """What an example may use without making it."""

    def runner(*, work_root: str, **options: Any) -> PlayedRunner:
        return played(folder / "made", **options)

    return {
        **{name: getattr(dagster_hpc, name) for name in dagster_hpc.__all__},
        **{name: getattr(dagster_hpc.testing, name) for name in dagster_hpc.testing.__all__},
        "HPCJobRunner": runner,  # it submits nothing, whatever its target
        "Field": Field,
        "Path": Path,
        "dg": dg,
        "math": math,
        "unreadable": unreadable,
        "hpc": played(folder / "hpc"),
        "tmp_path": folder,
    }


def documented(packages: tuple[str, ...]) -> list[Any]:
    """Classes and functions among the public names; a number or a text says itself what it is."""
    found = {}
    for package in packages:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                found[f"{package}.{name}"] = value
    return [pytest.param(value, id=name) for name, value in found.items()]


def methods_with_examples(packages: tuple[str, ...]) -> list[Any]:
    """Methods need none; those that there are work."""
    found = {
        f"{value.__name__}.{name}": method
        for value in (param.values[0] for param in documented(packages))
        for name, method in vars(value).items()
        if inspect.isfunction(method) and "Example:" in (method.__doc__ or "")
    }
    return [pytest.param(method, id=name) for name, method in found.items()]


def docstring(value: Any) -> str:
    """Its own: not that of a parent, nor the fields that Python lists where a dataclass has none."""
    text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    return "" if not text or text.startswith(f"{value.__name__}(") else inspect.cleandoc(text)


def example(value: Any) -> str:
    """The code below `Example:`; empty if there is none."""
    lines = iter(docstring(value).splitlines())
    for line in lines:
        if line == "Example:":
            break
    code = []
    for line in lines:
        if line and not line.startswith(" "):
            break
        code.append(line)
    return textwrap.dedent("\n".join(code)).strip()


def run(value: Any, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of this name, which is used in it. That of an error meets it, where it can be played."""
    code = example(value)
    assert code, f"{value.__name__} has no `Example:`"
    assert value.__name__ in code
    met: list[Any] = []
    expected = inspect.isclass(value) and issubclass(value, Exception) and value not in NOT_PLAYED
    if expected:
        begin = value.__init__

        def noted(self: Any, *args: Any, **more: Any) -> None:
            met.append(self)
            begin(self, *args, **more)

        monkeypatch.setattr(value, "__init__", noted)
    exec(compile(code, f"the example of {value.__name__}", "exec", dont_inherit=True), names)
    assert met or not expected, f"no {value.__name__} was raised"


@pytest.mark.parametrize("value", documented((*PACKAGES, *chemistry.PACKAGES)))
def test_a_public_name_says_what_it_is(value: Any) -> None:
    assert docstring(value).split("\n")[0].endswith((".", ":")), value


@pytest.mark.parametrize("value", [*documented(PACKAGES), *methods_with_examples(PACKAGES)])
def test_the_example_of_a_public_name_works(value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(value, prepared(tmp_path), monkeypatch)


@pytest.mark.parametrize("value", [*documented(chemistry.PACKAGES), *methods_with_examples(chemistry.PACKAGES)])
def test_the_example_of_a_name_of_the_chemistry_works(
    value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")  # the embedded scheduler goes away soon after the last job
    run(value, chemistry.prepared(tmp_path, monkeypatch), monkeypatch)


def test_an_example_is_read_to_its_end() -> None:
    def shown() -> None:
        """Does nothing.

        Example:
            for each in "ab":
                print(each)

            print("done")

        And that is all.
        """

    assert example(shown) == 'for each in "ab":\n    print(each)\n\nprint("done")'
