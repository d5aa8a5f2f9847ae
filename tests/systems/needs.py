"""Which real systems this machine can run, and a place where one runs for as long as the tests do.

A test asks for a system by its marker, `@pytest.mark.needs("slurm")`. Where the machine has none the test is skipped,
with a sentence that says how to get it; where DAGSTER_HPC_REQUIRE names the system, as CI does, that is a failure.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.systems.daemon import SBIN, SystemFailed
from tests.systems.postgres import program
from tests.systems.torque import missing as _torque

REPOSITORY = Path(__file__).resolve().parents[2]
REQUIRE = "DAGSTER_HPC_REQUIRE"


def missing_commands(*names: str) -> list[str]:
    """Those of the commands that neither the PATH nor a folder for daemons has."""
    path = f"{os.environ.get('PATH', os.defpath)}:{SBIN}"
    return [name for name in names if shutil.which(name, path=path) is None]


def _slurm() -> list[str]:
    accounting = missing_commands("mariadbd", "mariadb-install-db", "slurmdbd", "sacctmgr")
    return [*missing_commands("munged", "munge", "slurmctld", "slurmd", "sbatch", "sacct"), *accounting]


def _sge() -> list[str]:
    programs = ("spoolinit", "spooldefaults", "sge_qmaster", "sge_execd", "sge_shepherd")
    daemons = [name for name in programs if not Path("/usr/lib/gridengine", name).exists()]
    root = [] if os.geteuid() == 0 else ["root, whom its daemons need"]
    return [*missing_commands("qsub", "qstat", "qacct", "qdel", "qconf"), *daemons, *root]


def _postgres() -> list[str]:
    driver = [] if importlib.util.find_spec("psycopg2") else ["the Python package psycopg2"]
    return [*(name for name in ("initdb", "postgres", "pg_isready") if program(name) is None), *driver]


def _browser() -> list[str]:
    driver = [] if importlib.util.find_spec("playwright") else ["the Python package playwright"]
    return [*missing_commands("chromium"), *driver]


def _mpi() -> list[str]:
    return missing_commands("mpirun")


def _modules() -> list[str]:
    init = Path("/usr/share/modules/init/bash")
    return [] if init.exists() else [str(init)]


SYSTEMS: dict[str, Callable[[], list[str]]] = {
    "slurm": _slurm,
    "sge": _sge,
    "torque": _torque,
    "postgres": _postgres,
    "browser": _browser,
    "mpi": _mpi,
    "modules": _modules,
}


def required_systems() -> set[str]:
    """The systems that DAGSTER_HPC_REQUIRE names, by commas or spaces."""
    return set(os.environ.get(REQUIRE, "").replace(",", " ").split())


def require(system: str) -> None:
    """Go on where this machine has the system; else skip the test, or fail it where the system is required."""
    missing = SYSTEMS[system]()
    if not missing:
        return
    sentence = f"needs {system}: this machine lacks {', '.join(missing)}; `make test` as root on Debian installs it"
    if system in required_systems():
        pytest.fail(f"{sentence}; {REQUIRE} names {system}", pytrace=False)
    pytest.skip(sentence)


@contextlib.contextmanager
def place_for(system: str) -> Iterator[Path]:
    """A folder for the system of `tests/systems/SYSTEM.py`, which is stopped and removed whatever happens to us.

    A process of its own does that, when its input closes: at the end of the block, and just as well when the tests are
    killed. The folder is not pytest's, because the daemons' own users may not enter that one.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"dagster-hpc-{system}-"))
    folder.chmod(0o755)
    script = 'cat >/dev/null; "$1" -m "$2" down "$3" && rm -rf "$3"'
    warden = subprocess.Popen(
        ["sh", "-c", script, "sh", sys.executable, f"tests.systems.{system}", str(folder)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the tests
    )
    try:
        yield folder
    finally:
        warden.communicate()
    if warden.returncode:
        raise SystemFailed(f"{system} in {folder} did not stop: python -m tests.systems.{system} down {folder}")
