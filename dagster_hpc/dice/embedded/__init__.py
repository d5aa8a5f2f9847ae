"""The embedded solver in its parts: what it is asked, what it solves, what it leaves behind.

`solve_product` is the solver as a function, without files or a process of its own.
"""

from dagster_hpc.dice.embedded.solution import Solution, solve_product

__all__ = ["Solution", "solve_product"]
