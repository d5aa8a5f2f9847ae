qstat -xml -j 99999
