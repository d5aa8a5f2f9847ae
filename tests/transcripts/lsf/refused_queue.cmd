bsub
