"""Where commands run and files lie: here, or (later) at the other end of an SSH connection.

A host acts and knows no scheduler.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from dagster_hpc.engine.call import Answer, Call

# Inside a batch job (or a Dagster step) these would change what a submit command does, or leak into the job.
SCRUBBED_PREFIXES: tuple[str, ...] = (
    "SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SALLOC_", "SRUN_", "PBS_", "LSB_", "BSUB_", "PJM_",
    "FLUX_JOB_", "OMPI_", "PMI_", "PMIX_", "DAGSTER_", "LOCAL_JOB_", "LOCAL_ARRAY_", "HPC_",
)  # fmt: skip
KEPT_VARIABLES: tuple[str, ...] = ("SLURM_CONF", "PBS_CONF_FILE", "PBS_HOME", "PBS_SERVER", "PBS_DEFAULT")


class Host(ABC):
    """Runs commands and moves files."""

    name: str

    @abstractmethod
    def run(self, call: Call) -> Answer:
        """Run a command to its end or to its timeout. `FileNotFoundError` when there is no such command."""

    @abstractmethod
    def place(self, directory: str, files: Mapping[str, bytes], folders: Sequence[str] = ()) -> None:
        """Make the directory with these files and folders in it, durable before this returns. `OSError` if not."""

    @abstractmethod
    def read(self, path: str, offset: int = 0, limit: int | None = None) -> bytes | None:
        """The bytes of a file from an offset on; None if there is no such file."""

    @abstractmethod
    def create(self, path: str, content: bytes) -> bool:
        """Create a private file with this content, whole or not at all; False if there is one already."""

    @abstractmethod
    def list(self, path: str) -> list[str]:
        """The names in a folder; none if there is no such folder."""

    @abstractmethod
    def tail(self, path: str, limit: int) -> bytes:
        """The last bytes of a file; none if there is no such file."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """The size of a file or folder entry, asked afresh from a network file system; None if it is not there."""


def scrubbed(environment: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """The environment for a scheduler command: the caller's, without what an outer job or Dagster put there."""
    kept = {k: v for k, v in environment.items() if k in KEPT_VARIABLES or not k.startswith(SCRUBBED_PREFIXES)}
    return {**kept, "LC_ALL": "C.UTF-8", **extra}
