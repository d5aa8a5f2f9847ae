"""The shell lines of a job: the solver's inputs and its output, and what keeps two Dice on one node apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from dagster_hpc.dice.layout import DETERMINANTS, ENERGY, OUTPUT
from dagster_hpc.subspace.payload import INPUTS, ONE_THREAD, WORDS

if TYPE_CHECKING:
    from dagster_hpc.resources.profile import ExecutionProfile

Isolation: TypeAlias = Literal["private", "staggered", "none"]

_WRAPPABLE = ("single", "mpirun", "mpiexec", "mpiexec.hydra")  # these start all ranks of one node as their children

# Of all that the solver says, the job's own output shows the table of iterations, the final energies and Dice's last cry.
_SHOWN = "|".join(
    (
        r"^ *(Iter +)?Root +E",
        r"^ *[0-9]+ +[0-9]+ +[^ ]+ +[0-9]+ +[^ ]+ +[0-9]+ +[^ ]+ *$",
        r"^ *[0-9]+ +-?[0-9]+\.[0-9]+ +[0-9.]+ *$",
        r"unsuccessful",
    )
)
# Rank 0 has something to say. Here bash stays the parent: it waits until all is written, and ends with the solver's exit
# code. The filter lives as long as the solver: what ends the job must not end it before the last words.
_PAYLOAD = f"""\
{INPUTS}rank=${{OMPI_COMM_WORLD_RANK:-${{PMIX_RANK:-${{PMI_RANK:-${{FLUX_TASK_RANK:-${{SLURM_PROCID:-0}}}}}}}}}}
[ "$rank" = 0 ] || exec {WORDS} >/dev/null
code=0
{WORDS} | (
  trap '' TERM INT HUP USR1 USR2 XCPU ALRM
  exec sed -u -E '/{_SHOWN}/w /dev/stderr' 2>&1 >>{OUTPUT}
) || code=${{PIPESTATUS[0]}}
[ -e {DETERMINANTS} ] || tail -n 20 {OUTPUT}
exit "$code"
"""

# Dice names its shared memory after the second in which it starts: two jobs on one node overwrite each other's. Each gets
# a /dev/shm of its own, seen by all of its ranks, hence around the launcher. It runs in the background: `exec` is safe.
# To mount one the user has to be root of a namespace. Inside a second one they are themselves again: an MPI that met root
# would share one session directory, /tmp/ompi.HOST.0, with all other users of the node, and munge would tell it of another
# user than it sees. Older systems cannot go back (`unshare --map-user` is of util-linux 2.36). The session directory is
# in the private /dev/shm in any case, where it meets nobody's leftovers and leaves none.
# It is tried with one rank, which has to find it: where a node has another name than its host, mpirun has the batch system
# start the ranks, outside of all that is around mpirun.
_SEEN = "test -e /dev/shm/dagster_hpc-private"
_PRIVATE = """\
hpc_dice_private() {{ # self or root, the command
  local back=
  [ "$1" = root ] || back="unshare --user --map-user=$EUID --map-group=$(id -g)"
  shift
  export OMPI_MCA_orte_tmpdir_base=/dev/shm PRTE_MCA_prte_tmpdir_base=/dev/shm PMIX_SYSTEM_TMPDIR=/dev/shm
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # it was the user's own to allow
  export HYDRA_BOOTSTRAP=fork HYDRA_LAUNCHER=fork I_MPI_HYDRA_BOOTSTRAP=fork # ranks have to be children of the launcher
  exec unshare --user --map-root-user --mount \\
    sh -c 'mount -t tmpfs tmpfs /dev/shm && : >/dev/shm/dagster_hpc-private && exec "$@"' sh $back "$@"
}}
hpc_dice_as= hpc_dice_known=$HPC_JOB_DIR/.private.$HOSTNAME # the elements of an array try it once on each node
{{ read -r hpc_dice_as <"$hpc_dice_known"; }} 2>/dev/null
if [ -z "$hpc_dice_as" ]; then
  for hpc_dice_as in self root; do
    (hpc_dice_private "$hpc_dice_as" timeout 60 {trial}) </dev/null >/dev/null 2>&1 && break
    hpc_dice_as=nobody
  done
  {{ echo "$hpc_dice_as" >"$hpc_dice_known"; }} 2>/dev/null
fi
if [ "$hpc_dice_as" != nobody ]; then
  {launcher}() {{ hpc_dice_private "$hpc_dice_as" {launcher} "$@"; }}
else
  echo "dagster_hpc: no private /dev/shm on $HOSTNAME; Dice runs start one after the other instead"
  hpc_dice_stagger
fi
"""

# A lock of the node, held by a sleep that goes on while Dice starts: the next start is at least that much later. (A batch
# system that ends the sleep with a shorter job does no harm: that job's Dice is over.)
STAGGER = """\
hpc_dice_stagger() {
  local lock=/dev/shm/dagster_hpc-dice.lock place
  command -v flock >/dev/null || { echo "dagster_hpc: no flock on $HOSTNAME; starts are not staggered"; return 0; }
  (umask 0; : >>"$lock") 2>/dev/null
  exec {place}<"$lock" || return 0
  flock "$place"
  sleep 1.5 </dev/null >/dev/null 2>&1 &
  exec {place}<&-
}
"""
_FRESH = f"rm -f {ENERGY} dets*.bin spin1RDM.*.txt {OUTPUT}  # of an attempt that the scheduler started again\n"


def payload(*, embedded: bool) -> str:
    """What each rank runs. The embedded solver has threads, by default as many as the job has cores."""
    return _PAYLOAD if embedded else ONE_THREAD + _PAYLOAD


def start_lines(isolation: Isolation, launcher: str, attempt: int = 0) -> str:
    """What the job does before it starts the launcher.

    `attempt` counts from 0. Later ones are staggered whatever the isolation: those that failed together start together
    again, and what failed in a private /dev/shm may have failed because of it.
    """
    if attempt > 0 or isolation == "staggered":
        return _FRESH + STAGGER + "hpc_dice_stagger\ntrue\n"
    if isolation == "private":
        wrapped, trial = ("bash", _SEEN) if launcher == "single" else (launcher, f"{launcher} -n 1 {_SEEN}")
        return _FRESH + STAGGER + _PRIVATE.format(launcher=wrapped, trial=trial) + "true\n"
    return _FRESH


def isolation_for(profile: ExecutionProfile, scheduler: str) -> Isolation:
    """The best that this profile allows on this kind of scheduler."""
    if profile.exclusive and scheduler != "local":
        return "none"  # nobody else is there
    # Ranks that another machine or a daemon of the scheduler starts are not inside of what is put around the launcher.
    contained = profile.num_nodes == 1 and profile.launcher in _WRAPPABLE and not profile.container
    return "private" if contained and scheduler != "pjm" else "staggered"
