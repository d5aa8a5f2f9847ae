"""The configuration files of the test cluster, and the names and ports that keep two clusters on one machine apart."""

from __future__ import annotations

import os
import socket
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.systems.daemon import LOOPBACK, SystemFailed, port_is_free

CLUSTER = "testing"
ACCOUNT = "proj1"
NODES = 4
FIRST_PORT = 26800  # below the ephemeral ports (32768-60999), away from PBS (15001-15007, 17001) and Slurm (6817-6819)
PORTS_PER_SLOT = 10
SLOTS = 20
CGROUPS = Path("/sys/fs/cgroup")


def slots(accounting: bool) -> Iterator[int]:
    """The slots a cluster may take, best first: even ones with accounting, odd ones without."""
    return iter(range(0 if accounting else 1, SLOTS, 2))


def host_name() -> str:
    """The short name of this machine; slurmctld runs under no other."""
    return socket.gethostname().partition(".")[0]


def memory_can_be_enforced() -> bool:
    """Whether Slurm can limit memory here: as root, by cgroup v1 (v2 would want systemd), mounted writable."""
    return os.geteuid() == 0 and all(os.access(CGROUPS / name, os.W_OK) for name in ("memory", "freezer"))


@dataclass(frozen=True)
class Layout:
    """Where one cluster lives.

    A slot stands for ten ports and for the names of the nodes: testa1 to testa4 in the first. No other cluster may have
    such names, because slurmd names its cgroups after the node, and what is left in those is killed at the end.
    """

    folder: Path
    accounting: bool
    slot: int

    @property
    def prefix(self) -> str:
        return f"test{string.ascii_lowercase[self.slot]}"

    @property
    def nodes(self) -> list[str]:
        return [f"{self.prefix}{number}" for number in range(1, NODES + 1)]

    @property
    def controller_port(self) -> int:
        return FIRST_PORT + PORTS_PER_SLOT * self.slot

    @property
    def accounting_port(self) -> int:
        return self.controller_port + NODES + 1

    @property
    def database_port(self) -> int:
        return self.controller_port + NODES + 2

    @property
    def ports(self) -> range:
        return range(self.controller_port, self.database_port + 1)

    def port_is_free(self, port: int) -> bool:
        return port_is_free(port, LOOPBACK if port == self.database_port else self.address)

    @property
    def munge_socket(self) -> Path:
        return self.folder / "munge" / "socket"

    @property
    def slurm_conf(self) -> Path:
        return self.folder / "etc" / "slurm.conf"

    @cached_property
    def address(self) -> str:
        """Where the daemons listen: what the machine's own name means, for Slurm binds to nothing else (or to all).

        On Debian that is 127.0.1.1 or 127.0.0.1, in a container its private address.
        """
        try:
            return socket.gethostbyname(host_name())
        except socket.gaierror:
            line = f"127.0.0.1 {host_name()}"
            raise SystemFailed(f"this machine cannot resolve its own name: add '{line}' to /etc/hosts") from None

    @cached_property
    def enforces_memory(self) -> bool:
        return memory_can_be_enforced()

    def cgroups(self) -> list[Path]:
        """The cgroups that the slurmd of this cluster made."""
        return [path for node in self.nodes for path in CGROUPS.glob(f"*/slurm_{node}")]

    def texts(self, slurm_user: str, slurmd_user: str) -> dict[str, str]:
        """File name → content for the folder that SLURM_CONF points into."""
        files = {
            "slurm.conf": slurm_conf(self, slurm_user, slurmd_user),
            "cgroup.conf": cgroup_conf(self.enforces_memory),
            "gres.conf": gres_conf(self.nodes[-1]),
        }
        if self.accounting:
            files["slurmdbd.conf"] = slurmdbd_conf(self, slurm_user)
        return files


def slurm_conf(at: Layout, slurm_user: str, slurmd_user: str) -> str:
    """The controller's file. Each oddity was needed: see the comments; Slurm's parser refuses an empty value."""
    host = host_name()
    node = f"NodeHostname={host} NodeAddr={at.address} CPUs=8 RealMemory=3000 State=UNKNOWN"
    first, last, final = at.controller_port + 1, at.controller_port + NODES - 1, at.controller_port + NODES
    process, task = ("proctrack/cgroup", "task/cgroup") if at.enforces_memory else ("proctrack/linuxproc", "task/none")
    return f"""\
ClusterName={CLUSTER}
SlurmctldHost={host}({at.address})
SlurmctldPort={at.controller_port}
CommunicationParameters={listening(at.address)}
SlurmUser={slurm_user}
SlurmdUser={slurmd_user}
AuthType=auth/munge
AuthInfo=socket={at.munge_socket}
CredType=cred/munge

StateSaveLocation={at.folder}/state
SlurmdSpoolDir={at.folder}/spool/%n
SlurmctldPidFile={at.folder}/run/slurmctld
SlurmdPidFile={at.folder}/run/%n
RebootProgram=/bin/true
MailProg=/bin/true

# more CPUs than the machine has
SlurmdParameters=config_overrides
ProctrackType={process}
TaskPlugin={task}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
DefMemPerCPU=100

# a job starts within a second of its submission, not within three
SchedulerParameters=batch_sched_delay=0,sched_interval=5,sched_min_interval=50000,bf_interval=5,max_rpc_cnt=0
KillWait=2
SlurmctldTimeout=30
SlurmdTimeout=30
UnkillableStepTimeout=30
MinJobAge=300
MaxArraySize=501
MaxJobCount=20000
ReturnToService=2
JobRequeue=0

JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
{accounting_lines(at)}
NodeName={at.prefix}[1-{NODES - 1}] Port=[{first}-{last}] {node}
NodeName={at.nodes[-1]} Port={final} Gres=gpu:fake:2 {node}
PartitionName=cpu Nodes={at.prefix}[1-{NODES - 1}] Default=YES MaxTime=1-00:00:00 DefaultTime=10 State=UP
PartitionName=gpu Nodes={at.nodes[-1]} MaxTime=1-00:00:00 DefaultTime=10 State=UP
PartitionName=short Nodes={at.prefix}[1-{NODES}] MaxTime=1 DefaultTime=1 State=UP
PartitionName=down Nodes={at.nodes[0]} State=DOWN
"""


def listening(address: str) -> str:
    """All daemons on that address only.

    But 127.0.1.1, a fresh Debian's own address, is none that a connection comes from: srun would wait there for answers
    that slurmd sends to 127.0.0.1. So there slurmd and srun listen everywhere, guarded by munge's key.
    """
    source_differs = address.startswith("127.") and address != LOOPBACK
    return "NoCtldInAddrAny" if source_differs else "NoInAddrAny,NoCtldInAddrAny"


def accounting_lines(at: Layout) -> str:
    """slurmdbd's clients read the munge socket from AccountingStoragePass only; AuthInfo does not reach them."""
    if not at.accounting:
        return "AccountingStorageType=accounting_storage/none"
    return f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={at.address}
AccountingStoragePort={at.accounting_port}
AccountingStoragePass={at.munge_socket}
AccountingStorageEnforce=associations
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment,job_script"""


def slurmdbd_conf(at: Layout, slurm_user: str) -> str:
    """The accounting daemon's file. StorageHost=localhost would mean the client library's default socket."""
    return f"""\
DbdHost=localhost
DbdAddr={at.address}
DbdPort={at.accounting_port}
CommunicationParameters=NoInAddrAny
SlurmUser={slurm_user}
AuthType=auth/munge
AuthInfo=socket={at.munge_socket}
PidFile={at.folder}/run/slurmdbd
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={at.database_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""


def cgroup_conf(enforce: bool) -> str:
    """Memory is limited by the kernel, exactly as asked for; the other controllers stay out of it."""
    return f"""\
CgroupPlugin=cgroup/v1
CgroupMountpoint={CGROUPS}
CgroupAutomount=no
ConstrainRAMSpace={"yes" if enforce else "no"}
ConstrainSwapSpace=no
ConstrainCores=no
ConstrainDevices=no
MinRAMSpace=8
"""


def gres_conf(node: str) -> str:
    """Two GPUs that are none: Slurm counts device files, and any two character devices will do."""
    return "".join(f"NodeName={node} Name=gpu Type=fake File={device}\n" for device in ("/dev/null", "/dev/zero"))
