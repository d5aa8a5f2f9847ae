"""WHERE: the batch systems that jobs can go to, a file for each kind. Each is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.resources.targets.base import HPCTarget

_HOME = {
    "local": ("local", "LocalTarget"),
    "slurm": ("slurm", "SlurmTarget"),
    "pbs": ("pbs", "PBSTarget"),
    "miyabi": ("pbs", "MiyabiTarget"),
    "gadi": ("pbs", "GadiTarget"),
    "torque": ("torque", "TorqueTarget"),
    "pjm": ("pjm", "PJMTarget"),
    "fugaku": ("pjm", "FugakuTarget"),
    "lsf": ("lsf", "LSFTarget"),
    "sge": ("sge", "SGETarget"),
    "flux": ("flux", "FluxTarget"),
}
KINDS = list(_HOME)


def target_kinds() -> list[str]:
    """The kinds of targets that there are."""
    return list(_HOME)


def target_class(kind: str) -> type[HPCTarget]:
    """`slurm` → `SlurmTarget`: for the command line and for targets that are chosen by a variable."""
    if kind not in _HOME:
        raise ConfigurationError(f"there is no target {kind!r}: {did_you_mean(kind, KINDS)}")
    module, name = _HOME[kind]
    found: type[HPCTarget] = getattr(import_module(f"{__name__}.{module}"), name)
    return found
