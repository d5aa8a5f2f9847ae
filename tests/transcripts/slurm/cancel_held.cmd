scancel 16
