"""A small batch system for one machine: a program with a queue, not a library.

`python -m dagster_hpc.local_batch submit|query|cancel` is to a laptop what sbatch, squeue and scancel are to a
cluster. Jobs live in a *spool* directory (`spool.py`), a *daemon* decides which one starts next (`daemon.py`), and one
*shepherd* per running job looks after it to its end (`shepherd.py`). Jobs outlive whoever submitted them, and the
daemon too. Only the standard library is used, because every command pays for its imports.
"""
