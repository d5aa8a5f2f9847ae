qdel 1 2
