scancel 43_1
