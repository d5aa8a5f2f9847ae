qacct -j 7
