"""`python -m dagster_hpc.cli`, where the script itself is not on PATH."""

from dagster_hpc.cli.main import main

if __name__ == "__main__":
    main()
