"""Slurm's commands for Torque's users, real ones, over a real Slurm: `install(folder)` makes them ready to use.

Debian's package slurm-wlm-torque conflicts with Grid Engine's commands. Where it is not installed, debian.sh has unpacked
it into a folder of its own.
"""

from __future__ import annotations

import shutil
from pathlib import Path

UNPACKED = Path("/usr/local/lib/slurm-wlm-torque/usr/bin")
INSTALLED = Path("/usr/bin")
LIBRARY = "Slurm.pm"
COMMANDS = ("qsub", "qstat", "qdel", "qhold", "qrls")


def commands() -> Path | None:
    """Where they are on this machine: qsub and its kin are Torque's only if Slurm's package brought them."""
    for folder in (UNPACKED, INSTALLED):
        qsub = folder / "qsub"
        if qsub.exists() and b"Slurm sbatch" in qsub.read_bytes():
            return folder
    return None


def missing() -> list[str]:
    """What this machine lacks of them."""
    libraries = [Path(folder) for folder in ("/usr/lib", "/usr/share/perl5", "/usr/local/share/perl")]
    found = any(next(folder.glob(f"**/{LIBRARY}"), None) for folder in libraries if folder.exists())
    return [*([] if commands() else ["slurm-wlm-torque"]), *([] if found else ["libslurm-perl"])]


def install(folder: Path) -> Path:
    """These commands in a folder for the head of PATH, with the sbatch that they look for beside themselves."""
    source, sbatch = commands(), shutil.which("sbatch")
    assert source is not None
    assert sbatch is not None
    binaries = folder / "bin"
    binaries.mkdir(parents=True, exist_ok=True)
    binaries.chmod(0o755)
    for name, target in {**{name: source / name for name in COMMANDS}, "sbatch": Path(sbatch)}.items():
        (binaries / name).symlink_to(target)
    return binaries
