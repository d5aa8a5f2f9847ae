scancel 49_1
