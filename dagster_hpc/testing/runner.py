"""The runner for unit tests of pipelines."""

# No `from __future__ import annotations` here: see resources/job_runner.py.

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from pydantic import PrivateAttr

from dagster_hpc.engine.job import JobSpec
from dagster_hpc.resources.command import Command
from dagster_hpc.resources.env_vars import env_value, with_env_values
from dagster_hpc.resources.interruption import interruptible
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.request import JobRequest
from dagster_hpc.resources.step import Context
from dagster_hpc.resources.submission import Submitting
from dagster_hpc.resources.targets.base import HPCTarget
from dagster_hpc.testing.play import Player
from dagster_hpc.testing.played_target import AnyTarget, played
from dagster_hpc.testing.submitted import Submitted
from dagster_hpc.testing.system import PlayedSystem

if TYPE_CHECKING:
    from dagster_hpc.engine.runner import Runner


class PlayedRunner(HPCJobRunner):
    """An `HPCJobRunner` that submits nothing: it records each job, and plays back what the test has said.

    All else is as in production, for it is the same engine: arrays, partitions, joined jobs, retries, failures by kind,
    metadata. Nothing leaves this process, and waiting takes no time. Use the in-process executor.

    Args:
        folder: Where jobs' directories and the ledger lie, as in `tmp_path`.
        target: To see the very script that this target would get, and its faults; else every program is accepted.
        profiles: Else every name of a profile is accepted, and is the default profile.
        **fields: Further fields of `HPCJobRunner`, as in `reuse`.

    Example:
        hpc = PlayedRunner(tmp_path)
        hpc.play("bitcount", Play(outputs={"counts.json": '{"01": 3}'}, stdout="read 3 lines"))
        result = hpc.run(Command("bitcount", args=["a.txt"]), profile="small", outputs={"counts": "counts.json"})
        assert Path(result.outputs["counts"]).read_text() == '{"01": 3}'
        assert hpc.submitted[0].command.args == ["a.txt"]
    """

    _system: PlayedSystem = PrivateAttr(default_factory=PlayedSystem)

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        target: HPCTarget | None = None,
        profiles: Mapping[str, ExecutionProfile] | None = None,
        **fields: Any,
    ) -> None:
        place = Path(folder).absolute()
        super().__init__(
            target=target or AnyTarget(),
            profiles=dict(profiles or {}),
            work_root=str(place / "jobs"),
            ledger_url=f"sqlite:///{place / 'ledger.db'}",
            **fields,
        )

    def play(self, job: str, *plays: Player) -> None:
        """Say what becomes of the next jobs: of the first, of the second, and of all that follow the last play.

        `job` is a program as a `Command` names it, the name that the queue shows, or an asset's key; `*` means any.
        Said again of the same job, the new words count. A play may be a function of the job as it was submitted.

        Example:
            hpc.play("bitcount", Play(state="NODE_FAIL"), Play(outputs={"counts.json": "{}"}))
            hpc.play("echo", lambda job: Play(stdout=" ".join(job.args)))
            hpc.play("*", Play())
        """
        self._system.plan(job, plays)

    def end(self, job: str, play: Player) -> int:
        """End the jobs that were played as going on (RUNNING, PENDING); returns how many they were.

        Example:
            hpc.play("bitcount", Play(state="RUNNING"))
            handle = hpc.submit(Command("bitcount"), profile="small")
            hpc.end("bitcount", Play(state="TIMEOUT"))
        """
        return self._system.end(job, play)

    @property
    def submitted(self) -> list[Submitted]:
        """The jobs submitted so far, in their order: an array is one, and a job that was joined is none."""
        return list(self._system.submitted)

    def profile(self, name: str | ExecutionProfile, overrides: Mapping[str, Any] | None = None) -> ExecutionProfile:
        if isinstance(name, str) and not self.profiles:
            name = ExecutionProfile()
        return super().profile(name, overrides)

    def get_resource_definition(self) -> Any:
        """Dagster is to hand out this very object, where it would make a copy that knows nothing of the test."""
        return dg.ResourceDefinition(resource_fn=self._itself)

    def _itself(self, context: dg.InitResourceContext) -> "PlayedRunner":
        return self

    def _engine(self) -> "Runner":
        if self._runner is None:
            from dagster_hpc.engine.ledger import Ledger
            from dagster_hpc.engine.runner import Runner

            target = played(with_env_values(cast(HPCTarget, self.target)).engine_target(self._patience), self._system)
            url, clock = self.ledger_url and env_value(self.ledger_url), self._system.clock
            self._runner = Runner(target, Ledger(url, clock), clock=clock)
        return self._runner

    def _submitting(self, context: Context | None) -> Submitting:
        return _Noting(
            self, self._engine, self._calls, context, lambda handles: interruptible(self, handles, context), self._system
        )


@dataclass(frozen=True)
class _Noting(Submitting):
    """Notes each command as it is asked for."""

    played: PlayedSystem

    def spec(self, command: Command, request: JobRequest, **how: Any) -> JobSpec:
        spec = super().spec(command, request, folder=None, **how)  # no node has to see these folders
        commands: Sequence[Command] = how.get("commands") or [command]
        self.played.note(spec, commands, request.profile if isinstance(request.profile, str) else "")
        return spec
