qconf -sq short.q
