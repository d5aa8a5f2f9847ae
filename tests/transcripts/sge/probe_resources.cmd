qconf -sc
