qstat --limit
