env HPC_ASKS_FOR=gz00:regular-g qstat --limit
