qacct -j nosuch_2345
