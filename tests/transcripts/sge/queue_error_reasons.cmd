qstat -j 4
