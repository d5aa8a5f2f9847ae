env HPC_ASKS_FOR=end_efgh2345 qstat -ll -H --hday 31 --hnum 10000
