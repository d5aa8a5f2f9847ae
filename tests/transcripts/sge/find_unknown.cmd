qstat -xml -j nosuch_2345
