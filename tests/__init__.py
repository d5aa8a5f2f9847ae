"""The tests: a package, so that `python -m tests.systems.slurm` and `from tests.systems import …` work."""
