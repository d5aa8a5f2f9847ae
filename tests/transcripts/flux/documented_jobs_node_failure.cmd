flux jobs --json 1
