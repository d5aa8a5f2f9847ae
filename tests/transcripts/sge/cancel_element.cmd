qdel 3.5
