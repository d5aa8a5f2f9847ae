"""The embedded scheduler: the one system that is everywhere."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster_hpc import HPCTarget, LocalTarget
from tests.contract.systems.base import System
from tests.faults.conftest import KNOBS
from tests.local_batch.system import Batch, eventually

_UNKNOWN_DIRECTIVE = """\
{% extends "local.sh.j2" %}
{% block directives %}
{{ super() }}
#LOCAL --colour=blue
{% endblock %}
"""


class LocalSystem(System):
    """With more cores than the machine has: what waits for each other must be able to run at the same time."""

    kind = "local"
    can = frozenset({"array", "array limit", "afterok", "afterany", "afternotok", "memory"})

    def start(self, folder: Path) -> None:
        self.folder = folder
        self.batch = Batch(folder)
        self.template = folder / "template.sh.j2"
        self.template.write_text(_UNKNOWN_DIRECTIVE)

    def stop(self) -> None:
        for daemon in self.batch.daemons():
            os.kill(daemon, signal.SIGTERM)
        eventually(lambda: not self.batch.keepers())

    def environment(self) -> Mapping[str, str]:
        return {f"LOCAL_BATCH_{name}": value for name, value in KNOBS.items()}

    def target(self, **fields: Any) -> HPCTarget:
        plenty = {"cores": 32, "memory": "64G", "spool": str(self.batch.spool), "poll_interval": 0.5}
        return LocalTarget(**{**plenty, **fields})

    def refused(self) -> tuple[dict[str, Any], str]:
        return {"template": str(self.template)}, "unknown directive --colour"

    def cancel(self, job_id: str) -> None:
        assert self.batch.run("cancel", job_id).returncode == 0
