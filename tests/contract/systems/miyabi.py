"""Miyabi as its users report it: a qstat of its own over PBS."""

from __future__ import annotations

from typing import Any

from dagster_hpc import HPCTarget, MiyabiTarget
from tests.contract.systems.pbs import PBSSystem


class MiyabiSystem(PBSSystem):
    kind = "miyabi"
    site = {"flavour": "miyabi"}
    can = PBSSystem.can - {"stuck"}  # its table has no comment that would say so

    def target(self, **fields: Any) -> HPCTarget:
        return MiyabiTarget(**{"poll_interval": 0.5, "project_cpu": "gz00", **fields})
