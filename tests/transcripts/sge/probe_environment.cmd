qconf -sp smp
