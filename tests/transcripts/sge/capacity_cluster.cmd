qsub -terse -b y -h -N bits_cdef2345 sleep 300
