qstat -ll -H --hday 31 --hnum 10000
