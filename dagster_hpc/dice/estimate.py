"""What a subspace will take, before it is submitted: memory on each node, and time.

Both grow with the elements of the Hamiltonian among its determinants, not with the determinants alone: 100 000 of them took
Dice 0.5 to 1.3 GB, always 15 bytes for each pair that the Hamiltonian connects. How many pairs there are follows from the
strings. What earlier jobs of the same program on the same Hamiltonian took corrects the figures for this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from dagster_hpc.dice.layout import ALPHA, BETA
from dagster_hpc.electrons.determinants import decode, popcounts, words_of
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.jobdir import PROTOCOL_DIR
from dagster_hpc.engine.units import format_walltime, parse_memory, parse_walltime

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.electrons.determinants import Words
    from dagster_hpc.engine.ledger import JobRow
    from dagster_hpc.resources.profile import ExecutionProfile
    from dagster_hpc.subspace.problem import StringPair

Program: TypeAlias = Literal["dice", "embedded"]

MARGIN = 1.5  # what is asked for, or told, over what is expected
UNASKED_MIB = (
    2048  # what a node gives to anybody: less is not asked for, since some systems refuse any request of memory
)
_SAMPLE = 256  # strings that are compared with all others
_PAIRS = 1 << 21  # at a time
_TELLING = 1e6  # connections from which on a job's figures are more than those of its start
WORTH_A_LOOK = 3e7  # connections from which on a job takes seconds and hundreds of megabytes
_MIB = 1 << 20


@dataclass(frozen=True)
class Costs:
    """Of one program. Orbitals without symmetry, which connect most, were measured."""

    bytes_per_rank: float
    bytes_per_determinant: float
    bytes_per_connection: float
    start_s: float
    s_per_connection: float  # of one core, with all iterations


COSTS: Mapping[Program, Costs] = {
    # Dice stores the matrix: 0.07 to 5.1 GB in six subspaces of 10 000 to 360 000 determinants, predicted to 15%.
    "dice": Costs(20 * _MIB, 200, 15, 0.5, 1.2e-7),
    # Vectors and tables of strings, no matrix: 264, 639 and 1560 MiB for 100 000, 400 000 and 1 million determinants. Small
    # subspaces have one, of up to 400 MB; that much is to be had everywhere. Time: 2.5e-8, the million on two threads.
    "embedded": Costs(130 * _MIB, 1500, 0, 1.5, 3e-8),
}


@dataclass(frozen=True)
class Workload:
    """A subspace as a solver feels it."""

    norb: int
    determinants: int
    connections: float  # elements of the matrix beside the diagonal, in all rows together


def workload(alpha: Words, beta: Words, norb: int) -> Workload:
    """Of all products of these strings. Determinants that a run adds are not in it."""
    (single_a, double_a), (single_b, double_b) = _neighbours(alpha), _neighbours(beta)
    determinants = len(alpha) * len(beta)
    each = single_a + double_a + single_b + double_b + single_a * single_b
    return Workload(norb, determinants, determinants * each)


def workload_of(subspace: StringPair, norb: int) -> Workload:
    alpha, beta = (words_of(strings, norb) for strings in subspace)
    return workload(alpha, beta, norb)


def _neighbours(strings: Words) -> tuple[float, float]:
    """How many strings differ from one by one electron, and by two, on average."""
    count = len(strings)
    chosen = strings[np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(np.intp))]
    found = np.zeros(2)
    step = max(1, _PAIRS // count)
    for begin in range(0, len(chosen), step):
        differing: NDArray[np.uint64] = chosen[begin : begin + step, None] ^ strings[None]
        moved = popcounts(np.ascontiguousarray(differing.reshape(-1, strings.shape[1])))
        found += np.count_nonzero(moved == 2), np.count_nonzero(moved == 4)
    single, double = found / len(chosen)
    return float(single), float(double)


@dataclass(frozen=True)
class Ran:
    """An earlier job: what it had to do, and what it took."""

    load: Workload
    nodes: int
    ranks: int  # on each node
    elapsed_s: float | None
    max_rss_mib: float | None  # of one rank


@dataclass(frozen=True)
class Estimate:
    """`memory_bytes` on each node, of all its ranks together."""

    memory_bytes: float
    seconds: float


def estimate(
    program: Program, load: Workload, *, nodes: int = 1, ranks: int = 1, earlier: Sequence[Ran] = ()
) -> Estimate:
    """What it will take on so many nodes with so many ranks, or threads, each.

    Earlier jobs make a time longer or shorter, and memory larger only: a system that looks twice a minute misses peaks.
    """
    plain = _plain(program, load, nodes, ranks)
    memory, time = [1.0], []
    for job in earlier:
        if job.load.connections < _TELLING:
            continue
        expected = _plain(program, job.load, job.nodes, job.ranks)
        if job.max_rss_mib:
            memory.append(job.max_rss_mib * _MIB * job.ranks / expected.memory_bytes)
        if job.elapsed_s:
            time.append(job.elapsed_s / expected.seconds)
    return Estimate(plain.memory_bytes * max(memory), plain.seconds * max(time, default=1.0))


def _plain(program: Program, load: Workload, nodes: int, ranks: int) -> Estimate:
    costs = COSTS[program]
    shared = load.determinants * costs.bytes_per_determinant + load.connections * costs.bytes_per_connection
    memory = ranks * costs.bytes_per_rank + 2 * load.norb**4 + shared / nodes  # the integrals, and them sorted
    return Estimate(memory, costs.start_s + load.connections * costs.s_per_connection / (nodes * ranks))


def earlier_jobs(rows: Iterable[JobRow], norb: int, words: Sequence[str], most: int = 8) -> list[Ran]:
    """The latest jobs in the ledger that ended well and have these words, such as the program's and the FCIDUMP file's
    paths, in their script. What they had to do stands in their directories, as long as these are there.
    """
    found: list[Ran] = []
    for row in rows:
        if len(found) == most:
            break
        folder, metrics = Path(row.work_dir), row.metrics
        if not (row.state.is_success and metrics.nodes and metrics.cores and _has_script(folder, words)):
            continue
        try:
            alpha, beta = (decode((folder / name).read_bytes(), norb) for name in (ALPHA, BETA))
        except (OSError, ValueError, ConfigurationError):
            continue
        if len(alpha) and len(beta):
            load = workload(alpha, beta, norb)
            found.append(
                Ran(load, metrics.nodes, max(1, metrics.cores // metrics.nodes), metrics.elapsed_s, metrics.max_rss_mib)
            )
    return found


def _has_script(folder: Path, words: Sequence[str]) -> bool:
    for place in (folder, folder.parent):  # an element of an array job has its script in the directory above
        for script in (place / PROTOCOL_DIR).glob("script*"):
            try:
                text = script.read_text(errors="replace")
            except OSError:
                continue
            if all(word in text for word in words):
                return True
    return False


def memory_to_ask(expected: Estimate, profile: ExecutionProfile) -> dict[str, Any]:
    """Overrides for a profile that says nothing of memory, where a node's usual share may be too small.

    `expected` without earlier jobs: the same call then makes the same script, and so finds its job again.
    """
    needed = -(-MARGIN * expected.memory_bytes // _MIB)
    if profile.memory_per_node is not None or profile.exclusive or needed <= UNASKED_MIB:
        return {}
    return {"memory_per_node": f"{int(needed)}M"}


def doubts(expected: Estimate, profile: ExecutionProfile) -> list[str]:
    """Why the job may not come to its end with what its profile asks for."""
    found = []
    memory = expected.memory_bytes / _MIB
    if profile.memory_per_node is not None and parse_memory(profile.memory_per_node) < memory:
        found.append(
            f"it is expected to take {memory / 1024:.1f} GiB of memory on each node and its profile asks for "
            f"{profile.memory_per_node}: ask for {MARGIN * memory / 1024:.0f}G, or take more nodes"
        )
    if parse_walltime(profile.walltime) < expected.seconds:
        found.append(
            f"it is expected to take {expected.seconds:.0f} s and its profile's walltime is {profile.walltime}: ask for "
            f"{format_walltime(int(MARGIN * expected.seconds) + 1)}, or take more ranks"
        )
    return found
