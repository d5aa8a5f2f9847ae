"""A Dice of real MPI ranks: they meet, add up their numbers, and rank 0 solves while the others wait for it.

    mpirun -n 2 python mpi_dice.py input.dat

speaks to Open MPI's library directly, and says how many ranks met.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from dagster_hpc.dice import pyscf_solver


def main() -> int:
    mpi = ctypes.CDLL("libmpi.so.40", mode=ctypes.RTLD_GLOBAL)
    world, integers, add = (
        ctypes.byref(ctypes.c_char.in_dll(mpi, f"ompi_mpi_{name}")) for name in ("comm_world", "int", "op_sum")
    )
    mpi.MPI_Init(None, None)
    rank, size, total = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    mpi.MPI_Comm_rank(world, ctypes.byref(rank))
    mpi.MPI_Comm_size(world, ctypes.byref(size))
    one = ctypes.c_int(rank.value + 1)
    mpi.MPI_Allreduce(ctypes.byref(one), ctypes.byref(total), 1, integers, add, world)
    if total.value != size.value * (size.value + 1) // 2:
        raise SystemExit(f"{size.value} ranks add up to {total.value}")
    code = 0
    if rank.value == 0:
        print(f"{size.value} ranks met", flush=True)
        code = pyscf_solver.run(Path(), *sys.argv[1:])
    mpi.MPI_Barrier(world)
    mpi.MPI_Finalize()
    return code


if __name__ == "__main__":
    sys.exit(main())
