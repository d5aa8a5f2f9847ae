scancel 34
