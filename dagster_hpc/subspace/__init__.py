"""Solvers of subspaces: one way of running them as jobs, and what a solver of one's own has to say.

The names below are imported when they are first used.

In the examples `molecule` is hydrogen in ten orbitals, with `one_body`, `two_body`, the `strings` of one electron,
`samples` of it, and a solver `dice`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_hpc.lazy import lazy_names

if TYPE_CHECKING:
    from dagster_hpc.subspace.checks import AnswerInvalid, Check, NoAnswer
    from dagster_hpc.subspace.problem import Problem, StringPair, Subspace
    from dagster_hpc.subspace.result import StatelessResult, SubspaceResult
    from dagster_hpc.subspace.solver import SubspaceSolver
    from dagster_hpc.subspace.tasks import SolverRun
    from dagster_hpc.subspace.unanswered import SubspacesUnanswered

__all__ = [
    "AnswerInvalid",
    "Check",
    "NoAnswer",
    "Problem",
    "SolverRun",
    "StatelessResult",
    "StringPair",
    "Subspace",
    "SubspaceResult",
    "SubspaceSolver",
    "SubspacesUnanswered",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "checks": ("AnswerInvalid", "Check", "NoAnswer"),
        "problem": ("Problem", "StringPair", "Subspace"),
        "result": ("StatelessResult", "SubspaceResult"),
        "solver": ("SubspaceSolver",),
        "tasks": ("SolverRun",),
        "unanswered": ("SubspacesUnanswered",),
    },
)
