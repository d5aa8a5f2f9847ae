"""The code location that `make demo` and `dagster dev` show: HPC jobs as assets, on the target that you choose."""

import os

import dagster as dg

from definitions.automation import bitcount_pipeline, daily_samples, samples_in_inbox
from definitions.bitcount import bit_counts, histogram, samples
from definitions.hello import hello
from definitions.targets import resources


@dg.definitions
def defs() -> dg.Definitions:
    """Read when Dagster asks for it, so that a wrong variable in the environment is an error with a sentence."""
    return dg.Definitions(
        assets=[hello, samples, bit_counts, histogram],
        jobs=[bitcount_pipeline],
        schedules=[daily_samples()],
        sensors=[samples_in_inbox],
        resources=resources(os.environ),
    )
