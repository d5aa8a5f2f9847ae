qstat -ll -t
