qstat -x -f -F json 1.pbs
