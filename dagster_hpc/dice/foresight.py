"""What the jobs of a batch should ask for, and what is doubtful about their profile, by the largest of its subspaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dagster_hpc.dice import estimate as sizes
from dagster_hpc.subspace.problem import Foresight

if TYPE_CHECKING:
    from dagster_hpc.resources.job_runner import HPCJobRunner
    from dagster_hpc.subspace.problem import Problem, Subspace


def foresight(
    hpc: HPCJobRunner, program: sizes.Program, subspaces: Sequence[Subspace], problem: Problem, words: Sequence[str]
) -> Foresight:
    """`words`: such as stand in the scripts of earlier jobs of the same program on the same Hamiltonian."""
    profile = problem.profile
    asked: dict[str, Any] = {}
    nodes, ranks = profile.num_nodes, profile.mpiprocs
    if program == "embedded":
        nodes, ranks = 1, profile.ompthreads or 1
    loads = (sizes.workload_of((one.alpha, one.beta), problem.norb) for one in subspaces)
    load = max(loads, key=lambda one: one.connections)
    if hpc.target.scheduler.kind != "local":
        # The local machine gives its memory to whoever comes; a request that is larger than it could never start.
        asked = sizes.memory_to_ask(sizes.estimate(program, load, nodes=nodes, ranks=ranks), profile)
    if load.connections <= sizes.WORTH_A_LOOK:
        return Foresight(asked)
    earlier = sizes.earlier_jobs(hpc.jobs(limit=50), problem.norb, words)
    likely = sizes.estimate(program, load, nodes=nodes, ranks=ranks, earlier=earlier)
    doubts = sizes.doubts(likely, profile)
    return Foresight(asked, tuple(f"a subspace of {load.determinants} determinants: {doubt}" for doubt in doubts))
