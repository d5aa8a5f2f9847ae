"""Where the examples run, written once for a site: on this machine, or on the system that DAGSTER_HPC_TARGET names."""

import os
import sys

from dagster_hpc import ExecutionProfile, HPCJobRunner
from dagster_hpc.resources.targets import target_class

target = target_class(os.environ.get("DAGSTER_HPC_TARGET", "local"))

hpc = HPCJobRunner(
    target=target(python=sys.executable),
    profiles={"one": ExecutionProfile(), "four": ExecutionProfile(ompthreads=4)},
    work_root=os.environ.get("DAGSTER_HPC_WORK_ROOT", "work"),
    reuse="succeeded",  # the same call is run once
)
