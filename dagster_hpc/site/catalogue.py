"""The site: its targets, its profiles, and a runner for each target."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.targets.base import HPCTarget
from dagster_hpc.site.files import read_files, read_site
from dagster_hpc.site.plan import Plan
from dagster_hpc.site.settings import Fault


@dataclass(frozen=True)
class Site:
    """Targets and profiles that an administrator owns and users share, written in one file.

    `profiles` are as they are where nothing about them differs; each runner has those of its target. `unset`: by target,
    the variables in its paths that are not set on this machine.

    Example:
        Path("site.toml").write_text('''
            work_root = "~/dagster-jobs"
            [targets.laptop]
            kind = "local"
            [profiles.small]
            walltime = "00:05:00"
        ''')
        defs = dg.Definitions(resources={"hpc": Site.load("site.toml").runner()})
    """

    targets: Mapping[str, HPCTarget]
    profiles: Mapping[str, ExecutionProfile]
    runners: Mapping[str, HPCJobRunner]
    default_target: str
    unset: Mapping[str, Sequence[Fault]]

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, *, environ: Mapping[str, str] | None = None) -> Site:
        """The site in this file, and in it alone; without a path, in the system-wide, the user's and the project's.

        Of those three the later ones add to the earlier and go before them, key by key. Variables `DAGSTER_HPC_…` of the
        environment go before all files. `ConfigurationError` with every mistake in them, each with its file and line.
        """
        environ = os.environ if environ is None else environ
        settings = read_site(environ, Path.cwd()) if path is None else read_files([Path(path).expanduser()])
        plan = Plan.of(settings, environ)
        if plan.faults:
            raise ConfigurationError([str(fault) for fault in plan.faults], advice="`dagster-hpc site check` looks again.")
        return cls(plan.targets, plan.profiles, plan.runners, plan.default_target, plan.unset)

    def runner(self, target: str | None = None) -> HPCJobRunner:
        """The job runner on this target; without a name on that of `DAGSTER_HPC_TARGET`, or the site's default."""
        name = target or self.default_target
        if name not in self.runners:
            known = list(self.runners)
            if not name:
                raise ConfigurationError(
                    f"the site has several targets and no default_target: {', '.join(known)}",
                    advice="name one: runner(NAME), DAGSTER_HPC_TARGET=NAME, or default_target in the site's file.",
                )
            raise ConfigurationError(f"the site has no target {name!r}: {did_you_mean(name, known)}")
        if self.unset[name]:
            raise ConfigurationError(
                [str(fault) for fault in self.unset[name]],
                advice=f"set it, or choose another target than {name!r}: {', '.join(self.runners)}.",
            )
        return self.runners[name]
