bparams -a
