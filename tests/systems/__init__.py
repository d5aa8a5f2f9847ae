"""Real systems for the tests: `slurm` and `postgres` start one in a folder, `needs` says which this machine can run."""
