"""The matrix against PySCF's, and the lowest state of it against traps that are known to catch eigensolvers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("pyscf")

from pyscf import ao2mo, fci
from pyscf.fci import cistring, selected_ci
from scipy import sparse as scipy_sparse

from dagster_hpc.diagonalization import davidson, stored_matrix
from dagster_hpc.electrons.fcidump import read_fcidump
from dagster_hpc.electrons.hamiltonian import diagonal_energies, hamiltonian_matrix
from dagster_hpc.electrons.integrals import Integrals
from dagster_hpc.electrons.selection import grown
from dagster_hpc.electrons.space import DeterminantSpace

N2 = Path(__file__).parents[1] / "golden" / "dice" / "n2_pyscf_subset" / "fcidump.txt"


def random_integrals(norb: int, seed: int = 3) -> Integrals:
    rng = np.random.default_rng(seed)
    pairs = norb * (norb + 1) // 2
    one, two = rng.standard_normal((norb, norb)), rng.standard_normal((pairs, pairs))
    return Integrals(0.0, one + one.T, two + two.T)


def occupations(strings: np.ndarray, norb: int) -> np.ndarray:
    return (np.asarray(strings)[:, None] >> np.arange(norb) & 1).astype(bool)


def full_space(norb: int, nelec: tuple[int, int]) -> DeterminantSpace:
    return DeterminantSpace.product(
        *(occupations(cistring.make_strings(range(norb), electrons), norb) for electrons in nelec)
    )


def pyscf_matrix(integrals: Integrals, nelec: tuple[int, int]) -> np.ndarray:
    norb = integrals.norb
    two_body = ao2mo.restore(1, integrals.pair_integrals, norb)
    order, matrix = fci.direct_spin1.pspace(integrals.one_body, two_body, norb, nelec, np=10**6)
    whole = np.zeros_like(matrix)
    whole[np.ix_(order, order)] = matrix
    return whole


SIZES = [
    (4, (2, 2)),
    (5, (3, 1)),
    (5, (1, 1)),
    (6, (3, 3)),
    (6, (4, 2)),
    (5, (2, 0)),
    (5, (0, 2)),
    (5, (1, 0)),
    (4, (4, 4)),
]


@pytest.mark.parametrize(("norb", "nelec"), SIZES)
def test_the_matrix_is_pyscfs(norb: int, nelec: tuple[int, int]) -> None:
    integrals, space = random_integrals(norb), full_space(norb, nelec)

    matrix = hamiltonian_matrix(space, integrals).toarray()

    assert np.abs(matrix - pyscf_matrix(integrals, nelec)).max() < 1e-12


@pytest.mark.parametrize(("norb", "nelec"), SIZES)
def test_the_matrix_of_a_list_of_determinants_is_a_part_of_the_whole(norb: int, nelec: tuple[int, int]) -> None:
    integrals, space = random_integrals(norb), full_space(norb, nelec)
    some = np.random.default_rng(1).permutation(len(space))[: max(1, len(space) // 2)]
    listed = DeterminantSpace.of(space.alpha[space.index_a[some]], space.beta[space.index_b[some]])

    matrix = hamiltonian_matrix(listed, integrals).toarray()

    assert np.abs(matrix - pyscf_matrix(integrals, nelec)[np.ix_(some, some)]).max() < 1e-12


def test_the_matrix_is_the_same_when_put_together_in_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    integrals, space = random_integrals(6), full_space(6, (3, 3))
    whole = hamiltonian_matrix(space, integrals)

    monkeypatch.setattr("dagster_hpc.electrons.hamiltonian._CHUNK", 500)

    assert abs(hamiltonian_matrix(space, integrals) - whole).max() < 1e-12


def test_too_large_a_matrix_is_refused_before_it_is_made() -> None:
    with pytest.raises(MemoryError, match="GiB"):
        hamiltonian_matrix(full_space(6, (3, 3)), random_integrals(6), most_bytes=1000)


def brute_force_growth(space: DeterminantSpace, weight: np.ndarray, cutoff: float, integrals: Integrals) -> set[bytes]:
    """Every determinant a with |H_ai c_i| > cutoff for some i of the space."""
    whole = full_space(space.norb, space.nelec)
    names = [
        a.tobytes() + b.tobytes() for a, b in zip(whole.alpha[whole.index_a], whole.beta[whole.index_b], strict=True)
    ]
    own = {
        a.tobytes() + b.tobytes() for a, b in zip(space.alpha[space.index_a], space.beta[space.index_b], strict=True)
    }
    place = {name: k for k, name in enumerate(names)}
    order = [place[a.tobytes() + b.tobytes()] for a, b in zip(
        space.alpha[space.index_a], space.beta[space.index_b], strict=True)]  # fmt: skip
    matrix = pyscf_matrix(integrals, space.nelec)
    reached = (np.abs(matrix[:, order] * weight) > cutoff).any(axis=1)
    return own | {names[k] for k in np.flatnonzero(reached)}


@pytest.mark.parametrize("nelec", [(2, 2), (3, 1), (3, 0)])
@pytest.mark.parametrize("cutoff", [0.05, 0.5, 1.0])
def test_growing_selects_by_matrix_element_times_weight(nelec: tuple[int, int], cutoff: float) -> None:
    integrals, whole = random_integrals(5), full_space(5, nelec)
    some = np.random.default_rng(2).permutation(len(whole))[:4]
    space = DeterminantSpace.of(whole.alpha[whole.index_a[some]], whole.beta[whole.index_b[some]])
    weight = np.array([0.8, 0.5, 0.3, 0.1])

    larger = grown(space, weight, cutoff, integrals)

    found = [a.tobytes() + b.tobytes() for a, b in zip(
        larger.alpha[larger.index_a], larger.beta[larger.index_b], strict=True)]  # fmt: skip
    assert len(set(found)) == len(found)
    # Singles must also pass by one integral alone, as in Dice: a subset of what the matrix elements say, all doubles in it.
    wanted = brute_force_growth(space, weight, cutoff, integrals)
    assert set(found) <= wanted
    assert len(found) >= 0.8 * len(wanted)
    assert np.array_equal(larger.alpha[larger.index_a[:4]], space.alpha[space.index_a])  # the old ones first


def test_a_cutoff_that_nothing_reaches_adds_nothing() -> None:
    space = full_space(4, (2, 2))
    part = DeterminantSpace.product(space.alpha[:2], space.beta[:3])

    assert len(grown(part, np.full(6, 0.4), 2147483647, random_integrals(4))) == 6


def blocks(sizes: list[int], seed: int = 0) -> tuple[object, float]:
    """A matrix of unconnected blocks, the lowest state in the last of them, the lowest diagonal in the first."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, size in enumerate(sizes):
        part = scipy_sparse.random_array(
            (size, size), density=min(1, 8 / size), rng=rng, data_sampler=rng.standard_normal
        )
        part = (part + part.T) * 0.1 + scipy_sparse.diags_array(rng.uniform(0, 4, size) + 0.3 * (number == 0))
        parts.append(part)
    parts[0] = parts[0] + scipy_sparse.coo_array(([-1.0], ([0], [0])), shape=(sizes[0], sizes[0]))
    last = sizes[-1]
    coupling = np.ones((20, 20)) * -0.12
    parts[-1] = parts[-1] + scipy_sparse.block_diag([coupling, scipy_sparse.csr_array((last - 20, last - 20))])
    matrix = scipy_sparse.block_diag(parts).tocsr()
    return matrix, float(min(np.linalg.eigvalsh(part.toarray())[0] for part in parts))


def test_the_lowest_state_is_found_in_whichever_block_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_matrix, "DENSE", 100)
    matrix, lowest = blocks([150, 90, 120, 400])

    states = stored_matrix.lowest_states_of_matrix(matrix, 1, tolerance=1e-7)

    assert states.energies[0] == pytest.approx(lowest, abs=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_davidson_alone_does_not_stay_in_the_block_of_its_first_start(seed: int) -> None:
    matrix, lowest = blocks([300, 500, 700], seed)
    trapped = np.zeros(1500)
    trapped[:300] = np.linalg.eigh(matrix[:300, :300].toarray())[1][:, 0]

    states = davidson.lowest_states(
        stored_matrix.MatrixOperator(matrix),
        1,
        tolerance=1e-7,
        seed=seed,
        guesses=[trapped],
    )

    assert states.energies[0] == pytest.approx(lowest, abs=1e-10)
    assert states.residual <= 1e-7


def test_an_isolated_state_above_the_lowest_does_not_stop_the_search() -> None:
    """The guard then has no direction left, which is no fault of the states that are wanted."""
    matrix = scipy_sparse.diags_array(np.linspace(0, 3, 500)).tocsr()

    states = davidson.lowest_states(stored_matrix.MatrixOperator(matrix), 2, tolerance=1e-9)

    assert states.energies == pytest.approx([0, 3 / 499], abs=1e-12)


def test_fewer_guesses_than_states_are_wanted() -> None:
    matrix, _ = blocks([500])
    states = davidson.lowest_states(stored_matrix.MatrixOperator(matrix), 5, tolerance=1e-8, guesses=[np.eye(500)[3]])

    assert states.energies == pytest.approx(np.linalg.eigvalsh(matrix.toarray())[:5], abs=1e-10)


def test_several_degenerate_states() -> None:
    part = scipy_sparse.random_array((800, 800), density=0.01, rng=np.random.default_rng(4))
    part = part + part.T + scipy_sparse.diags_array(np.linspace(0, 9, 800))
    twice = scipy_sparse.block_diag([part, part]).tocsr()

    states = davidson.lowest_states(stored_matrix.MatrixOperator(twice), 4, tolerance=1e-8)

    reference = np.linalg.eigvalsh(part.toarray())
    assert states.energies == pytest.approx([reference[0]] * 2 + [reference[1]] * 2, abs=1e-9)
    assert np.abs(states.vectors.T @ states.vectors - np.eye(4)).max() < 1e-9


def test_giving_up_is_an_error_and_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(davidson, "MAX_ITERATIONS", 2)
    matrix, _ = blocks([2000])

    with pytest.raises(davidson.EigenError, match="not converged after 2 iterations"):
        davidson.lowest_states(stored_matrix.MatrixOperator(matrix), 1, tolerance=1e-9)


@pytest.mark.parametrize("count", [20, 40, 80])
@pytest.mark.parametrize("with_hartree_fock", [False, True])
def test_sparse_products_of_random_strings(count: int, with_hartree_fock: bool) -> None:
    """On these Dice gives up at its cap, and PySCF's default start was seen to settle 0.02 Hartree too high."""
    integrals = read_fcidump(N2).integrals
    strings = cistring.make_strings(range(16), 5)
    for seed in range(3):
        chosen = np.sort(np.random.default_rng(seed).choice(len(strings), count, replace=False))
        if with_hartree_fock:
            chosen[0] = 0
        space = DeterminantSpace.product(*[occupations(strings[chosen], 16)] * 2)
        matrix = hamiltonian_matrix(space, integrals)
        states = stored_matrix.lowest_states_of_matrix(matrix, 1, tolerance=1e-7)

        exact = min_by_arpack(matrix)
        two_body = ao2mo.restore(1, integrals.pair_integrals, 16)
        pyscf_energy = selected_ci.kernel_fixed_space(
            selected_ci.SCI(), integrals.one_body, two_body, 16, (5, 5), (strings[chosen],) * 2
        )[0]
        assert states.energies[0] == pytest.approx(exact, abs=1e-8)
        assert states.energies[0] <= pyscf_energy + 1e-8


def min_by_arpack(matrix: object) -> float:
    from scipy.sparse.linalg import eigsh

    start = np.random.default_rng(9).standard_normal(matrix.shape[0])
    return float(eigsh(matrix, k=1, which="SA", v0=start, tol=1e-11, maxiter=20000)[0][0])


def test_diagonal_of_many_orbitals() -> None:
    space, integrals = full_space(6, (3, 2)), random_integrals(6)

    assert diagonal_energies(space, integrals) == pytest.approx(np.diagonal(pyscf_matrix(integrals, (3, 2))), abs=1e-12)
