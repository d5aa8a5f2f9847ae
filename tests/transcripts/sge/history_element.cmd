qacct -j 1 -t 2
