qacct -o hpcuser -d 30 -j
