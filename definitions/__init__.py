"""The code location that `make demo` and `dagster dev` show: HPC jobs as assets, on the target that you choose."""

import os
from importlib.util import find_spec

import dagster as dg

from dagster_hpc import build_hpc_job_sensor
from definitions.automation import bitcount_pipeline, daily_samples, samples_in_inbox
from definitions.bitcount import bit_counts, histogram, samples
from definitions.hello import hello, overnight
from definitions.noise import noise_curve, noise_sweep
from definitions.targets import resources


@dg.definitions
def defs() -> dg.Definitions:
    """Read when Dagster asks for it, so that a wrong variable in the environment is an error with a sentence."""
    common = resources(os.environ)
    demo = dg.Definitions(
        assets=[hello, overnight, samples, bit_counts, histogram, noise_sweep, noise_curve],
        jobs=[bitcount_pipeline],
        schedules=[daily_samples()],
        sensors=[samples_in_inbox, build_hpc_job_sensor()],
        resources=common,
    )
    if not all(find_spec(name) for name in ("pyscf", "qiskit_addon_sqd")):  # of the extras `dice` and `sqd`
        return demo
    from definitions.chemistry import chemistry

    return dg.Definitions.merge(demo, chemistry(os.environ, common["hpc_target"]))
