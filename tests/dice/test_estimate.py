"""Memory and time before a subspace is submitted, against what a real Dice took."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc import Command, ConfigurationError, ExecutionProfile, HPCJobRunner, LocalTarget, SlurmTarget
from dagster_hpc.dice import DiceSolver
from dagster_hpc.dice.estimate import (
    Estimate,
    Ran,
    Workload,
    doubts,
    earlier_jobs,
    estimate,
    memory_to_ask,
    workload,
    workload_of,
)
from dagster_hpc.electrons.determinants import popcounts, words_of
from dagster_hpc.resources.targets import HPCTarget
from tests.dice.test_solver import local_runner, problem

hpc = pytest.fixture(local_runner, name="hpc")

MIB = 1 << 20
LARGE = Workload(26, 10**6, 4.3e8)


def lowest(norb: int, electrons: int, count: int) -> list[int]:
    """The strings with the fewest electrons above the lowest one."""
    filled = (1 << electrons) - 1
    every = [sum(1 << p for p in chosen) for chosen in combinations(range(norb), electrons)]
    return sorted(every, key=lambda string: ((string & ~filled).bit_count(), string))[:count]


@pytest.mark.parametrize(("norb", "count", "measured_mib"), [(16, 100, 69), (16, 316, 1156), (26, 316, 1309)], ids=str)
def test_memory_is_what_a_real_dice_took(norb: int, count: int, measured_mib: float) -> None:
    """N2 with five electrons of each spin in 16 and 26 orbitals without symmetry, products of so many strings."""
    strings = lowest(norb, 5, count)
    expected = estimate("dice", workload_of((strings, strings), norb))
    assert expected.memory_bytes / MIB == pytest.approx(measured_mib, rel=0.2)


@given(
    st.integers(2, 70).flatmap(
        lambda norb: st.tuples(
            st.just(norb),
            st.lists(
                st.sets(st.integers(0, norb - 1), min_size=2, max_size=2), min_size=1, max_size=30, unique_by=frozenset
            ),
            st.lists(st.integers(0, norb - 1), min_size=1, max_size=20, unique=True),
        )
    )
)
def test_connections_are_those_of_the_slater_condon_rules(case: tuple[int, list[set[int]], list[int]]) -> None:
    norb, pairs, singles = case
    alpha, beta = [sum(1 << p for p in pair) for pair in pairs], [1 << p for p in singles]
    states = [a | b << norb for a in alpha for b in beta]
    electrons = [(a, b) for a in alpha for b in beta]
    connected = sum(
        0 < (x ^ y).bit_count() <= 4 and (a ^ c).bit_count() % 2 == 0 and (b ^ d).bit_count() % 2 == 0
        for x, (a, b) in zip(states, electrons, strict=True)
        for y, (c, d) in zip(states, electrons, strict=True)
    )
    found = workload(words_of(alpha, norb), words_of(beta, norb), norb)
    assert found.determinants == len(states)
    assert found.connections == pytest.approx(connected)


def test_many_strings_are_sampled() -> None:
    strings = words_of(lowest(20, 5, 5000), 20)
    few = workload(strings, strings, 20)
    moved = popcounts((strings[:, None] ^ strings[None]).reshape(-1, 1))
    single, double = (np.count_nonzero(moved == n) / len(strings) for n in (2, 4))
    assert few.connections / few.determinants == pytest.approx(2 * (single + double) + single**2, rel=0.1)


def test_ranks_share_the_work_and_nodes_the_memory() -> None:
    one, four = estimate("dice", LARGE), estimate("dice", LARGE, nodes=2, ranks=2)
    assert four.seconds < one.seconds / 3.5
    assert one.memory_bytes / 2.2 < four.memory_bytes < one.memory_bytes / 1.8


def test_the_embedded_solver_stores_no_matrix() -> None:
    assert estimate("embedded", LARGE).memory_bytes < estimate("dice", LARGE).memory_bytes / 4


@pytest.mark.parametrize(("determinants", "measured_mib"), [(10**5, 264), (4 * 10**5, 639), (10**6, 1560)])
def test_memory_is_what_the_embedded_program_took(determinants: int, measured_mib: float) -> None:
    expected = estimate("embedded", Workload(26, determinants, 4.3e8))
    assert expected.memory_bytes / MIB == pytest.approx(measured_mib, rel=0.15)


# -- with the ledger


def test_earlier_jobs_say_how_fast_the_machine_is_and_never_promise_less_memory() -> None:
    load = Workload(16, 10**5, 4e7)
    plain = estimate("dice", load)
    slow_and_large = Ran(load, 1, 1, 3 * plain.seconds, 2 * plain.memory_bytes / MIB)
    fast_and_small = Ran(load, 1, 1, plain.seconds / 3, plain.memory_bytes / MIB / 2)

    worse, better = (estimate("dice", LARGE, earlier=[job]) for job in (slow_and_large, fast_and_small))

    expected = estimate("dice", LARGE)
    assert worse.seconds == pytest.approx(3 * expected.seconds)
    assert worse.memory_bytes == pytest.approx(2 * expected.memory_bytes)
    assert better.seconds == pytest.approx(expected.seconds / 3)
    assert better.memory_bytes == expected.memory_bytes


def test_jobs_that_do_little_more_than_start_say_nothing() -> None:
    tiny = Ran(Workload(4, 16, 100), 1, 1, 50.0, 5000)
    assert estimate("dice", LARGE, earlier=[tiny]) == estimate("dice", LARGE)


def test_what_earlier_jobs_had_to_do_stands_in_their_directories(hpc: HPCJobRunner) -> None:
    (alpha, beta), *rest = problem("lih_sto3g")
    runs = DiceSolver(hpc=hpc, select_cutoff=None).runs([(alpha, beta), (alpha[:4], beta)], *rest)
    program = "dagster_hpc.dice.pyscf_solver"

    found = earlier_jobs(hpc.jobs(), 6, [program])

    assert sorted(job.load.determinants for job in found) == [60, 225]
    assert all(job.elapsed_s and (job.nodes, job.ranks) == (1, 1) for job in found)
    assert earlier_jobs(hpc.jobs(), 6, [program, "another fcidump"]) == []
    Path(runs[0].jobs[0].handle.work_dir, "AlphaDets.bin").unlink()
    assert len(earlier_jobs(hpc.jobs(), 6, [program])) == 1


# -- what follows


@pytest.mark.parametrize(
    ("mib", "profile", "asked"),
    [
        (1000, {}, {}),
        (6000, {}, {"memory_per_node": "9000M"}),
        (6000, {"memory_per_node": "4G"}, {}),
        (6000, {"exclusive": True}, {}),
    ],
)
def test_memory_is_asked_for_where_the_profile_says_none_and_it_matters(
    mib: int, profile: dict[str, Any], asked: dict[str, Any]
) -> None:
    assert memory_to_ask(Estimate(mib * MIB, 1), ExecutionProfile(**profile)) == asked


def test_what_is_too_little_is_told_before_the_job_is() -> None:
    profile = ExecutionProfile(memory_per_node="4G", walltime="00:01:00")
    assert doubts(Estimate(3000 * MIB, 50), profile) == []
    memory, walltime = doubts(Estimate(6144 * MIB, 100), profile)
    assert "6.0 GiB of memory on each node and its profile asks for 4G: ask for 9G" in memory
    assert "100 s and its profile's walltime is 00:01:00: ask for 00:02:31" in walltime


# -- at the solver


def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subspace that a test can afford, taken for one of a million determinants."""
    monkeypatch.setattr("dagster_hpc.dice.estimate.workload_of", lambda strings, norb: LARGE)


def test_the_solver_warns_of_a_walltime_that_is_too_short(hpc: HPCJobRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    large(monkeypatch)
    hpc.profiles["dice-mpi"] = ExecutionProfile(walltime="00:00:10")
    with pytest.warns(UserWarning, match="1000000 determinants: it is expected to take 14 s .* ask for 00:00:22"):
        DiceSolver(hpc=hpc).solve(*problem("lih_sto3g"))


@pytest.mark.parametrize(("target", "asked"), [(SlurmTarget(), 9570), (LocalTarget(), None)])
def test_the_solver_asks_a_batch_system_for_memory(
    target: HPCTarget, asked: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(monkeypatch)
    hpc = HPCJobRunner(target=target, profiles={"dice-mpi": ExecutionProfile()}, work_root=str(tmp_path))
    seen: dict[str, Any] = {}

    def run(self: HPCJobRunner, command: Command, **how: Any) -> None:
        seen["script"] = self.render(command, profile=how["profile"], overrides=how["overrides"])
        raise ConfigurationError("enough")

    monkeypatch.setattr(HPCJobRunner, "run", run)
    with pytest.raises(ConfigurationError, match="enough"):
        DiceSolver(hpc=hpc, executable="/apps/Dice").solve(*problem("lih_sto3g"))
    found = re.search(r"^#(?:SBATCH --mem|LOCAL --mem\S*)=(\d+)M$", seen["script"], re.MULTILINE)
    assert (int(found[1]) if found else None) == (asked and pytest.approx(asked, rel=0.01))
