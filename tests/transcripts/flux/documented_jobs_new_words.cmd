flux jobs --json 4 5 6
