"""The shell lines of a job: the solver's inputs, and what keeps two Dice on one node apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from dagster_hpc.dice.layout import DETERMINANTS, ENERGY, SPIN_RDM

if TYPE_CHECKING:
    from dagster_hpc.resources.profile import ExecutionProfile

Isolation: TypeAlias = Literal["private", "staggered", "none"]

START = "dice-start.sh"
_WRAPPABLE = ("single", "mpirun", "mpiexec", "mpiexec.hydra")  # these start all ranks of one node as their children

# Runs once for every rank: what every rank does alike can be done by all of them at once.
PAYLOAD = """\
# fcidump.txt, the solver's words, and last the folder of this subspace's own inputs
link() { ln "$1" "$2" 2>/dev/null || ln -s "$1" "$2" 2>/dev/null || [ -e "$2" ]; }
inputs=${!#}
link "$1" fcidump.txt
if [ "$inputs" != . ]; then
  for file in "$inputs"/*; do link "$file" "${file##*/}"; done
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "${@:2:$#-2}"
"""

# Dice names its shared memory after the second in which it starts: two jobs on one node overwrite each other's. Each gets
# a /dev/shm of its own, seen by all of its ranks, hence around the launcher. It runs in the background: `exec` is safe.
_PRIVATE = """\
hpc_dice_private() {{
  unshare --user --map-root-user --mount sh -c 'mount -t tmpfs tmpfs /dev/shm && exec "$@"' sh "$@"
}}
if (hpc_dice_private true) >/dev/null 2>&1; then
  # Inside, the user looks like root; and the ranks have to be children of the launcher.
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 HYDRA_BOOTSTRAP=fork HYDRA_LAUNCHER=fork
  {launcher}() {{
    exec unshare --user --map-root-user --mount \\
      sh -c 'mount -t tmpfs tmpfs /dev/shm && exec "$@"' sh {launcher} "$@"
  }}
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
_FRESH = f"rm -f {ENERGY} {DETERMINANTS} {SPIN_RDM}  # of an attempt that the scheduler started again\n"


def start_lines(isolation: Isolation, launcher: str) -> str:
    """What the job does before it starts the launcher: the contents of `START`."""
    match isolation:
        case "private":
            private = _PRIVATE.format(launcher="bash" if launcher == "single" else launcher)
            return _FRESH + STAGGER + private + "true\n"
        case "staggered":
            return _FRESH + STAGGER + "hpc_dice_stagger\ntrue\n"
        case _:
            return _FRESH


def isolation_for(profile: ExecutionProfile, scheduler: str) -> Isolation:
    """The best that this profile allows on this kind of scheduler."""
    if profile.exclusive and scheduler != "local":
        return "none"  # nobody else is there
    # Ranks that another machine or a daemon of the scheduler starts are not inside of what is put around the launcher.
    contained = profile.num_nodes == 1 and profile.launcher in _WRAPPABLE and not profile.container
    return "private" if contained and scheduler != "pjm" else "staggered"
