"""Where commands run and files lie: here, or (later) at the other end of an SSH connection.

A host acts and knows no scheduler, but for the names of the variables by which commands find theirs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from dagster_hpc.engine.call import Answer, Call

Names = list[str]

# Every command of every scheduler runs in these variables of the caller's, and in no others: some systems hand on all
# that the submit command has (sbatch), others nothing (qsub), and a job is to see what its profile says, the same
# everywhere, and no password of the orchestrator. docs/targets.md shows this table.
ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "who asks, and where programs are": ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "LD_LIBRARY_PATH"),
    "language, and the time zone in which times are printed": ("LANG", "LANGUAGE", "LC_*", "TZ"),
    "the user's state folder, where the local batch system has its spool": ("XDG_STATE_HOME", "LOCAL_BATCH_*"),
    "tickets and agents by which a site knows its users": ("KRB5CCNAME", "KRB5_CONFIG", "SSH_AUTH_SOCK", "MUNGE_SOCKET"),
    "where the module system is": (
        "MODULEPATH", "MODULEPATH_ROOT", "MODULESHOME", "MODULES_CMD", "LMOD_*", "BASH_FUNC_module*", "BASH_FUNC_ml*",
    ),
    "where Slurm is": ("SLURM_CONF", "SLURM_CONF_SERVER"),
    "where PBS or Torque is": (
        "PBS_CONF_FILE", "PBS_HOME", "PBS_EXEC", "PBS_SERVER", "PBS_DEFAULT", "PBS_PRIMARY", "PBS_SECONDARY",
        "PBS_BATCH_SERVICE_PORT",
    ),
    "where Grid Engine is": (
        "SGE_ROOT", "SGE_CELL", "SGE_ARCH", "SGE_CLUSTER_NAME", "SGE_QMASTER_PORT", "SGE_EXECD_PORT",
    ),
    "where LSF is": ("LSF_ENVDIR", "LSF_BINDIR", "LSF_LIBDIR", "LSF_SERVERDIR", "XLSF_UIDDIR", "EGO_*DIR", "EGO_TOP"),
    "where Flux is": (
        "FLUX_URI", "FLUX_CONF_DIR", "FLUX_EXEC_PATH", "FLUX_CONNECTOR_PATH", "FLUX_MODULE_PATH",
    ),
}  # fmt: skip
_PLAIN = frozenset(name for names in ENVIRONMENT.values() for name in names if "*" not in name)
_PATTERNS = tuple(name for names in ENVIRONMENT.values() for name in names if "*" in name)


class Host(ABC):
    """Runs commands and moves files.

    What it makes belongs to this user alone: directories 0700, files 0600, whatever the umask. A question about a file
    tells apart what is not there (None, nothing) from what cannot be seen now (a stale handle, no permission, a broken
    disk): that raises `OSError`, and such a witness says nothing.
    """

    name: str
    user: str  # under whom its commands run

    @abstractmethod
    def run(self, call: Call) -> Answer:
        """Run a command to its end, or kill it and all it started at its timeout. `FileNotFoundError` when there is no
        such command."""

    @abstractmethod
    def place(self, directory: str, files: Mapping[str, bytes], folders: Sequence[str] = ()) -> None:
        """Make the directory with these files and folders in it, durable before this returns. `OSError` if not."""

    @abstractmethod
    def create(self, path: str, content: bytes) -> bool:
        """Make a file with this content, whole at once; False if there is one already, which stays as it is."""

    @abstractmethod
    def is_private(self, path: str) -> bool:
        """Whether nobody else can change it: it belongs to this user, and neither group nor others may write."""

    @abstractmethod
    def read(self, path: str, offset: int = 0, limit: int | None = None) -> bytes | None:
        """The bytes of a file from an offset on; None if there is no such file."""

    @abstractmethod
    def tail(self, path: str, limit: int) -> bytes:
        """The last bytes of a file; none if there is no such file."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """The size of a file or folder entry, asked afresh from a network file system; None if it is not there."""

    @abstractmethod
    def list(self, path: str) -> Names:
        """The names in a directory, sorted; none if there is no such directory."""


def command_environment(environment: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a scheduler's command: the few variables of `ENVIRONMENT`, and what the call itself wants."""
    kept = {name: value for name, value in environment.items() if is_kept(name)}
    return {**kept, "LC_ALL": "C.UTF-8", **extra}


def is_kept(name: str) -> bool:
    """Whether a variable of the caller's reaches the commands (and on some systems the jobs)."""
    return name in _PLAIN or any(fnmatchcase(name, pattern) for pattern in _PATTERNS)
