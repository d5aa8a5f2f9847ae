"""SBD (r-ccs-cms/sbd) as a solver of subspaces: files, validated answers, a resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_hpc.lazy import lazy_names

if TYPE_CHECKING:
    from dagster_hpc.sbd.files import SBDFailed
    from dagster_hpc.sbd.reading import SBDResultInvalid
    from dagster_hpc.sbd.solver import SBDSolver

__all__ = ["SBDFailed", "SBDResultInvalid", "SBDSolver"]

__getattr__, __dir__ = lazy_names(
    __name__, {"files": ("SBDFailed",), "reading": ("SBDResultInvalid",), "solver": ("SBDSolver",)}
)
