scancel 15
