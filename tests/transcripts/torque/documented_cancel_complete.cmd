qdel 12
