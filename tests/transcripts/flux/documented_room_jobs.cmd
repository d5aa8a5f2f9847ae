flux jobs --json -c0
