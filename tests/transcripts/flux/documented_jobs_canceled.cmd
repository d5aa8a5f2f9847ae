flux jobs --json 2
