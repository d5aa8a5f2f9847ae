"""SBD (r-ccs-cms/sbd) as a solver of subspaces: files, validated answers, a resource.

In the examples `molecule` is hydrogen in ten orbitals, with `one_body`, `two_body`, the `strings` of one electron,
`samples` of it, and a solver `dice`.
"""

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
