"""What the campaign does to the system while jobs are under way. Each fault lasts for a while and is then over."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from tests.systems.postgres import PostgresServer
from tests.systems.slurm import SlurmCluster

_REAL = '/usr/bin/env PATH="${PATH#*:}"'
_TIMED_OUT = "echo '%s: error: Socket timed out on send/recv operation' >&2; exit 1"
_SBATCH_LOST = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"

# What a command may do instead of its work, each once: program, kind of fault, shell text.
FATES: dict[str, tuple[str, str]] = {
    "sbatch: its answer is lost": ("sbatch", f'{_REAL} sbatch "$@" >/dev/null\n{_SBATCH_LOST}'),
    "sbatch: its call is lost": ("sbatch", _SBATCH_LOST),
    "sbatch: it says nothing": ("sbatch", f'{_REAL} sbatch "$@" >/dev/null\nexit 0'),
    "sbatch: the job is taken twice": ("sbatch", f'{_REAL} sbatch "$@" >/dev/null\n{_REAL} sbatch "$@"'),
    "sbatch: slow": ("sbatch", f'sleep 3\n{_REAL} sbatch "$@"'),
    "sbatch: slow to answer": ("sbatch", f'{_REAL} sbatch "$@"\ncode=$?\nsleep 3\nexit $code'),
    "sbatch: killed after its work": ("sbatch", f'{_REAL} sbatch "$@" >/dev/null\nkill -9 $$'),
    "squeue: fails": ("squeue", _TIMED_OUT % "squeue"),
    "sacct: fails": ("sacct", _TIMED_OUT % "sacct"),
    "scancel: its call is lost": ("scancel", _TIMED_OUT % "scancel"),
}


class Commands:
    """Slurm's commands with something in front of them, that now and then does what has been ordered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self._orders = folder / "orders"
        self.folder.mkdir()
        self._orders.mkdir()
        for program in sorted({program for program, _ in FATES.values()}):
            text = (
                "#!/bin/bash\n"
                f"for order in {self._orders}/{program}.?????; do\n"
                '  mv "$order" "$order.$$.taken" 2>/dev/null && exec bash "$order.$$.taken" "$@"\n'
                f'done\nexec {_REAL} {program} "$@"\n'
            )
            (self.folder / program).write_text(text)
            (self.folder / program).chmod(0o755)
        self._count = 0

    def order(self, kind: str) -> None:
        """The next call of this fault's program meets it."""
        program, text = FATES[kind]
        self._count += 1
        temporary = self._orders / f"new.{self._count}"
        temporary.write_text(f"{text}\n")
        temporary.rename(self._orders / f"{program}.{self._count:05d}")

    def met(self) -> int:
        """How many orders were carried out."""
        return len(list(self._orders.glob("*.taken")))

    def withdraw(self) -> int:
        """Take back what no command has met: so many."""
        left = [path for path in self._orders.iterdir() if not path.name.endswith(".taken")]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)


def outages(cluster: SlurmCluster, ledger: Path | PostgresServer, r: random.Random) -> dict[str, Callable[[], None]]:
    """What may be away for some seconds, and comes back."""

    def controller() -> None:
        cluster.stop_controller()
        time.sleep(r.uniform(0, 6))
        cluster.start_controller()

    def accounting() -> None:
        cluster.stop_accounting()
        time.sleep(r.uniform(0, 8))
        cluster.start_accounting()

    def locked() -> None:
        assert isinstance(ledger, Path)
        holder = sqlite3.connect(ledger, isolation_level=None, timeout=30)
        try:
            holder.execute("BEGIN EXCLUSIVE")
            time.sleep(r.uniform(0.5, 8))
            holder.execute("ROLLBACK")
        finally:
            holder.close()

    def restarted() -> None:
        assert isinstance(ledger, PostgresServer)
        ledger.stop()
        time.sleep(r.uniform(0, 4))
        ledger.start()

    database = {"ledger: locked": locked} if isinstance(ledger, Path) else {"ledger: its server restarted": restarted}
    return {"slurmctld: restarted": controller, "slurmdbd: restarted": accounting, **database}
