flux jobs --json 3
