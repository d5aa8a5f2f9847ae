qstat -f -w '5[9].pbshost'
