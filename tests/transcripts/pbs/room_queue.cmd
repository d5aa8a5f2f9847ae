qstat -Q -f workq
