qstat -xml -j x_2345
