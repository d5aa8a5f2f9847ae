"""A chain of functions, submitted at once. `python chains.py submit` does not wait; run again, it finds its jobs."""

import sys

from cluster import hpc


def add_funct(a, b):
    return a + b


if __name__ == "__main__":
    future = 0
    for i in range(4, 8):
        future = hpc.submit_call(add_funct, i, future, profile="one")
    if "submit" not in sys.argv:
        print(future.result())
