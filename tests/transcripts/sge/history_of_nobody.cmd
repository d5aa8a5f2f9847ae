qacct -o nobody -d 30 -j
