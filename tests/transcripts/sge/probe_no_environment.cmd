qconf -sp nosuch
