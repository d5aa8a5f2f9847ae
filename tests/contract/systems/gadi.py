"""Gadi as its users report it: a PBS that takes small arrays, and those only if they may be rerun."""

from __future__ import annotations

from typing import Any

from dagster_hpc import GadiTarget, HPCTarget
from tests.contract.systems.pbs import PBSSystem


class GadiSystem(PBSSystem):
    kind = "gadi"
    site = {"flavour": "gadi"}

    def target(self, **fields: Any) -> HPCTarget:
        return GadiTarget(**{"poll_interval": 0.5, "project_cpu": "ab12", "storage": "gdata/ab12", **fields})
