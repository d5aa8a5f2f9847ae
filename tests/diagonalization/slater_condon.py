"""A Hamiltonian matrix by the Slater-Condon rules, one element after the other: slow, and nobody else's code."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigsh


def matrix(
    alpha: list[int], beta: list[int], one_body: np.ndarray, two_body: np.ndarray, norb: int
) -> sparse.csr_array:
    """Among all products of the strings, alpha-major; two_body as (pq|rs) with four indices."""
    determinants = [electrons_of(a, norb) + [norb + p for p in electrons_of(b, norb)] for a, b in product(alpha, beta)]
    filled = np.zeros((len(determinants), 2 * norb), np.float32)
    for row, electrons in enumerate(determinants):
        filled[row, electrons] = 1
    close = filled @ filled.T >= len(determinants[0]) - 2
    rows, columns = np.nonzero(np.triu(close))
    values = [element(determinants[i], determinants[j], one_body, two_body) for i, j in zip(rows, columns, strict=True)]
    upper = sparse.csr_array((values, (rows, columns)), shape=close.shape)
    return (upper + sparse.triu(upper, 1).T).tocsr()


def electrons_of(string: int, norb: int) -> list[int]:
    return [p for p in range(norb) if string >> p & 1]


def element(bra: list[int], ket: list[int], one_body: np.ndarray, two_body: np.ndarray) -> float:
    """<bra|H|ket>; orbitals from norb on are those of beta electrons."""
    norb = len(one_body)

    def h(p: int, q: int) -> float:
        return one_body[p % norb, q % norb] if p // norb == q // norb else 0.0

    def g(p: int, q: int, r: int, s: int) -> float:
        """(pq|rs) less (ps|rq)"""
        direct = two_body[p % norb, q % norb, r % norb, s % norb] * (p // norb == q // norb and r // norb == s // norb)
        crossed = two_body[p % norb, s % norb, r % norb, q % norb] * (p // norb == s // norb and r // norb == q // norb)
        return direct - crossed

    new, old = [p for p in bra if p not in ket], [q for q in ket if q not in bra]
    sign = (-1) ** (sum(map(bra.index, new)) + sum(map(ket.index, old)))
    if not new:
        return sum(h(p, p) for p in bra) + sum(g(p, p, q, q) for p in bra for q in bra) / 2
    if len(new) == 1:
        return sign * (h(new[0], old[0]) + sum(g(new[0], old[0], r, r) for r in bra if r in ket))
    return sign * g(new[0], old[0], new[1], old[1])


def lowest(hamiltonian: sparse.csr_array, count: int = 1) -> np.ndarray:
    """All of LAPACK for small matrices, ARPACK from chance for others."""
    if hamiltonian.shape[0] <= 1000:
        return np.linalg.eigvalsh(hamiltonian.toarray())[:count]
    start = np.random.default_rng(9).standard_normal(hamiltonian.shape[0])
    return np.sort(eigsh(hamiltonian, k=count + 1, which="SA", v0=start, tol=1e-13)[0])[:count]
