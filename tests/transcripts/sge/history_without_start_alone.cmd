qacct -j 77
