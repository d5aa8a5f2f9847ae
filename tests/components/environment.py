"""A virtual environment over the one that runs the tests: a project is installed into it as a user installs his."""

from __future__ import annotations

import os
import sys
import sysconfig
import venv
from pathlib import Path

PROGRAMS = ("create-dagster", "dagster", "dagster-hpc", "dg", "pip")
_PROGRAM = """\
#!{python}
import sys
from importlib.metadata import entry_points
if __name__ == "__main__":
    (program,) = entry_points(group="console_scripts", name={name!r})
    sys.exit(program.load()())
"""
# All that a project needs is there already: nothing is asked of the network. (A 0 here switches build isolation off.)
_PIP = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_QUIET": "1"}


def environment(folder: Path) -> dict[str, str]:
    """An environment in this folder, and the variables in which its programs are found."""
    venv.create(folder, symlinks=True)
    bin_, packages = folder / "bin", sysconfig.get_path("purelib", "venv", {"base": str(folder)})
    ours = sysconfig.get_path("purelib")
    # As a site, and not as a mere path: what is installed there for development is found too.
    Path(packages, "of_the_tests.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    for name in PROGRAMS:
        (bin_ / name).write_text(_PROGRAM.format(python=bin_ / Path(sys.executable).name, name=name))
        (bin_ / name).chmod(0o755)
    (bin_ / "uv").write_text("#!/bin/sh\nexit 1\n")  # many have it, and are asked whether it shall install the project
    (bin_ / "uv").chmod(0o755)
    return {"PATH": f"{bin_}:{Path(sys.executable).parent}:{os.environ['PATH']}", "VIRTUAL_ENV": str(folder), **_PIP}
