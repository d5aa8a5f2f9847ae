"""OpenPBS as its main branch has it: its qstat prints in JSON the first of the jobs only that it is asked for."""

from __future__ import annotations

from tests.contract.systems.pbs import PBSSystem


class PBSMainSystem(PBSSystem):
    kind = "pbs-main"
    site = {"client": "main"}
