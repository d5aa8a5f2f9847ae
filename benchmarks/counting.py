"""A target that counts the scheduler commands that it is asked to run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from pydantic import PrivateAttr

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.target import Patience, Target
from dagster_hpc.resources.targets.slurm import SlurmTarget


class CountingHost(LocalHost):
    def __init__(self, commands: Counter[str]) -> None:
        super().__init__()
        self.commands = commands

    def run(self, call: Call) -> Answer:
        self.commands[call.argv[0]] += 1
        return super().run(call)


class CountingSlurmTarget(SlurmTarget):
    _commands: Counter[str] = PrivateAttr(default_factory=Counter)

    @property
    def commands(self) -> Counter[str]:
        return self._commands

    def engine_target(self, patience: Patience | None = None) -> Target:
        return replace(super().engine_target(patience), host=CountingHost(self._commands))
