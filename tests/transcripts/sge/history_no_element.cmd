qacct -j 1 -t 9
