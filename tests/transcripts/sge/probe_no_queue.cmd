qconf -sq nosuch.q
