"""A Ray cluster in one job: its head on the first node, a worker for each further node of the profile."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import ray

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget, hpc_service

# Every rank runs this, one on each node. The head says where it is: for the other nodes, and for the client.
# Ray forks a server for each client, which gRPC's own handling of forks may kill as it starts (ray-project/ray#63202).
SERVE = """
export GRPC_ENABLE_FORK_SUPPORT=0
rank=${SLURM_PROCID:-${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}}
free() { "$1" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }
if [ "$rank" = 0 ]; then
  port=$(free "$1") client_port=$(free "$1") host=$(hostname -i | cut -d' ' -f1)
  "$2" start --head --node-ip-address "$host" --port "$port" --ray-client-server-port "$client_port" \\
    --include-dashboard=false --num-cpus "${OMP_NUM_THREADS:-1}" --disable-usage-stats --block &
  echo "$host:$port" >nodes.part; mv nodes.part nodes
  until "$1" -c "import socket; socket.create_connection(('$host', $client_port))" 2>/dev/null; do sleep 0.5; done
  echo "ray://$host:$client_port" >client.part; mv client.part client
  wait
fi
until [ -e nodes ]; do sleep 0.5; done
exec "$2" start --address "$(cat nodes)" --num-cpus "${OMP_NUM_THREADS:-1}" --disable-usage-stats --block
"""


class RayCluster(dg.ConfigurableResource):
    hpc: dg.ResourceDependency[HPCJobRunner]
    profile: str

    @contextmanager
    def connected(self, context: dg.AssetExecutionContext) -> Iterator[None]:
        serve = Command.shell(SERVE, args=[sys.executable, Path(sys.executable).with_name("ray")], name="ray")
        serving = hpc_service(self.hpc, serve, profile=self.profile, ready="client", context=context)
        with serving as file, ray.init(file.read_text().strip()):
            yield


@dg.asset
def squares(context: dg.AssetExecutionContext, ray_cluster: RayCluster) -> int:
    square = ray.remote(lambda number: number**2)
    with ray_cluster.connected(context):
        return sum(ray.get([square.remote(number) for number in range(100)]))


hpc = HPCJobRunner(
    target=LocalTarget(),
    profiles={"ray": ExecutionProfile(walltime="01:00:00", memory_per_node="4G")},
    work_root="jobs",
)
defs = dg.Definitions(assets=[squares], resources={"ray_cluster": RayCluster(hpc=hpc, profile="ray")})
