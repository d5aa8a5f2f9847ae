"""A Dask cluster in one job: its scheduler on the first node, a worker for each rank of the profile."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dask.distributed import Client

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget, hpc_service

# Every rank runs this. The launcher of the profile starts them, and a variable says which of them this is.
SERVE = """
rank=${SLURM_PROCID:-${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}}
[ "$rank" != 0 ] || "$1" -m dask scheduler --port 0 --no-dashboard --scheduler-file scheduler.json &
exec "$1" -m dask worker --no-dashboard --nthreads "${OMP_NUM_THREADS:-1}" --scheduler-file scheduler.json
"""


class DaskCluster(dg.ConfigurableResource):
    hpc: dg.ResourceDependency[HPCJobRunner]
    profile: str

    @contextmanager
    def client(self, context: dg.AssetExecutionContext) -> Iterator[Client]:
        serve = Command.shell(SERVE, args=[sys.executable], name="dask")
        size = self.hpc.profile(self.profile)
        serving = hpc_service(self.hpc, serve, profile=self.profile, ready="scheduler.json", context=context)
        with serving as file, Client(scheduler_file=str(file)) as client:
            client.wait_for_workers(size.num_nodes * size.mpiprocs)
            yield client


@dg.asset
def squares(context: dg.AssetExecutionContext, dask: DaskCluster) -> int:
    with dask.client(context) as client:
        return sum(client.gather(client.map(lambda number: number**2, range(100))))


hpc = HPCJobRunner(
    target=LocalTarget(),
    profiles={"dask": ExecutionProfile(walltime="01:00:00", memory_per_node="2G")},
    work_root="jobs",
)
defs = dg.Definitions(assets=[squares], resources={"dask": DaskCluster(hpc=hpc, profile="dask")})
