"""`dagster-hpc`: the ledger, the schedulers and the scripts from the command line."""
