qconf -sconf
