qstat -H --hday 31 --hnum 10000 -f 2139924 2139925
