"""Grid Engine: Sun's, Son of, Univa's, Open Cluster Scheduler."""
