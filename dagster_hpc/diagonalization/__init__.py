"""The lowest states of a Hamiltonian in a space of determinants, on all cores of this machine.

`solve_product` is all of it as a function, without files or a process of its own.
"""

from dagster_hpc.diagonalization.solution import Solution, solve_product

__all__ = ["Solution", "solve_product"]
