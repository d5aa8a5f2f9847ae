qstat -u hpcuser -s a -r -xml
