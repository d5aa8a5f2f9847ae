qselect -N x_abcd2345
