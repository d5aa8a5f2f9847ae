flux jobs --json 344402690048
