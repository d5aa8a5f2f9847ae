"""A real PostgreSQL server in a folder, for a ledger that several hosts share.

    server = PostgresServer(Path("/tmp/postgres"))
    server.start()
    engine = sqlalchemy.create_engine(server.url)
    server.stop()

It listens on loopback, trusts whoever connects and does not wait for the disk: its data are worth nothing afterwards.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.systems.daemon import Daemon, SystemFailed, port_is_free
from tests.systems.slots import claim, slot_of

FIRST_PORT = 27200
SLOTS = 100


def program(name: str) -> str | None:
    """Where a server program is: Debian keeps them off the PATH, one folder per version; the newest counts."""
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return str(packaged[-1]) if packaged else shutil.which(name)


class PostgresServer:
    """A server whose data live in `folder`; as root it runs as the user postgres."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).resolve()
        self.user = "postgres" if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        """For SQLAlchemy with psycopg2."""
        return f"postgresql+psycopg2://postgres@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Create the database at the first start, and serve it; nothing happens when it serves already."""
        if not (self._data / "PG_VERSION").exists():
            self._create()
        self._daemon.start(ready=self._answers, seconds=60)

    def stop(self) -> None:
        if slot_of(self.folder) is not None:
            self._daemon.stop()

    def _create(self) -> None:
        claim("postgres", self.folder, range(SLOTS), lambda slot: port_is_free(FIRST_PORT + slot))
        shutil.rmtree(self._data, ignore_errors=True)  # of a creation that was killed
        self._data.mkdir(parents=True, mode=0o700)
        if self.user is not None:
            shutil.chown(self._data, self.user, self.user)
        self._run(
            "initdb", f"--pgdata={self._data}", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"
        )

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [program(name) or name, *arguments],
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemFailed(f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def _answers(self) -> bool:
        argv = [program("pg_isready") or "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self._port}"]
        return subprocess.run(argv, env=self._environment()).returncode == 0

    @property
    def _daemon(self) -> Daemon:
        options = ["listen_addresses=127.0.0.1", f"port={self._port}", "unix_socket_directories=", "fsync=off"]
        argv = [program("postgres") or "postgres", "-D", str(self._data), *(f"--{option}" for option in options)]
        # SIGINT ends it at once; at SIGTERM it would wait for its clients to leave
        return Daemon("postgres", argv, self.folder, self.user, self._environment(), stop_signal=signal.SIGINT)

    @staticmethod
    def _environment() -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**clean, "LC_ALL": "C.UTF-8"}

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _port(self) -> int:
        slot = slot_of(self.folder)
        if slot is None:
            raise SystemFailed(f"the PostgreSQL in {self.folder} was never started")
        return FIRST_PORT + slot


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.systems.postgres", description="A PostgreSQL in a folder.")
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args(argv)
    server = PostgresServer(asked.folder)
    if asked.action == "down":
        server.stop()
        return
    server.start()
    print(server.url)


if __name__ == "__main__":
    main()
