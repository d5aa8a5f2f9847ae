qstat -x -f -w -t '6[].pbshost'
