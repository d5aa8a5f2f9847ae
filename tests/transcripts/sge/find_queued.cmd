qstat -xml -j after_bcde2345
