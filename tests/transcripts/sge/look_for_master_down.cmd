qstat -xml -j 10
