scancel 48_1
