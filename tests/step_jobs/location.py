"""The same definitions as a code location."""

from tests.step_jobs import pipeline

defs = pipeline.defs()
