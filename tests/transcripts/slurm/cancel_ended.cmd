scancel 33
