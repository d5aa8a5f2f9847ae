"""Python functions as jobs: how a function and its arguments become files, what runs on the node, what comes back."""
