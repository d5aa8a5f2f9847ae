"""A process that runs a job, for tests that kill it: `python -m tests.faults.client '{"kind": "local", …}'`.

Its last line of output is what came of the job.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from dagster_hpc import Command
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.hosts.local import LocalHost
from tests.faults.place import Place, materialize, metadata_of


def main(asked: dict[str, Any]) -> dict[str, Any]:
    place = Place(asked["kind"], Path(asked["folder"]))
    if "hang_after_submit" in asked:
        hang_after_submit(Path(asked["hang_after_submit"]))
    if asked.get("die_before_files"):
        die_before_files()
    runner = place.runner(target=asked.get("target"), profile=asked.get("profile"))
    command = Command.shell(asked["script"], name="subject")
    if asked.get("asset"):
        return {"job_id": metadata_of(materialize(place, command, runner=runner))["job_id"]}
    result = runner.run(command, profile="plain", key=asked["key"])
    return {"job_id": result.handle.job_id, "joined": result.handle.joined}


def hang_after_submit(note: Path) -> None:
    """The scheduler takes the job, and its answer never arrives."""
    run = LocalHost.run

    def hanging(self: LocalHost, call: Call) -> Answer:
        answer = run(self, call)
        if call.argv[0] == "sbatch" or "submit" in call.argv:
            note.touch()
            time.sleep(600)
        return answer

    LocalHost.run = hanging  # type: ignore[method-assign]


def die_before_files() -> None:
    """The job is claimed in the ledger, and then the power fails."""
    LocalHost.place = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
