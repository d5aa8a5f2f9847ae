"""A complete batch-job engine that knows nothing of Dagster."""
