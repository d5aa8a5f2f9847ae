"""`make bench`: all measurements, on a Slurm of their own where this machine can run one.

`python -m benchmarks NAME…` runs some of them, by the names of the files here.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = (
    "imports",
    "command_line",
    "dagster_overhead",
    "latency",
    "waiting",
    "detached",
    "slurm_jobs",
    "partitions",
    "python_calls",
    "steps",
    "dice_files",
    "dice_batch",
    "embedded",
    "sqd_loop",
)
NEED_SLURM = {"slurm_jobs", "partitions", "python_calls", "steps"}


@contextmanager
def a_slurm() -> Iterator[bool]:
    """SLURM_CONF as given, or of a cluster for the length of the measurements."""
    if os.environ.get("SLURM_CONF"):
        yield True
        return
    if not (shutil.which("sbatch") and shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin")):
        print("No Slurm on this machine (`make test` as root on Debian installs one): its measurements are left out.")
        yield False
        return
    from tests.systems.slurm import SlurmCluster

    with tempfile.TemporaryDirectory(prefix="bench-slurm-") as name:
        os.chmod(name, 0o755)
        cluster = SlurmCluster(Path(name))
        cluster.start()
        os.environ["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
        try:
            yield True
        finally:
            cluster.stop()


def main() -> None:
    names = sys.argv[1:] or NAMES
    with tempfile.TemporaryDirectory(prefix="bench-state-") as state, a_slurm() as slurm:
        os.environ["XDG_STATE_HOME"] = state
        os.environ.pop("DAGSTER_HOME", None)
        for name in names:
            if name in NEED_SLURM and not slurm:
                continue
            importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
