scancel 51_1
