"""How the settings of a site become targets, profiles and runners, with everything that is wrong about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.limits import QueueLimits
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.retry import RetryRule
from dagster_hpc.resources.targets import target_class, target_kinds
from dagster_hpc.resources.targets.base import HPCTarget
from dagster_hpc.resources.targets.local import LocalTarget
from dagster_hpc.site.inheritance import with_inherited
from dagster_hpc.site.records import Faults, record
from dagster_hpc.site.settings import Fault, Settings
from dagster_hpc.site.shape import faults_of_shape
from dagster_hpc.site.variables import read_variables

RUNNER_KEYS = tuple(key for key in HPCJobRunner.model_fields if key not in ("target", "profiles", "profiles_elsewhere"))
TOP_KEYS = ("default_target", *RUNNER_KEYS, "targets", "profiles")
TARGET_KEYS = ("kind", "extends", *RUNNER_KEYS)  # beside the fields of its kind
PROFILE_KEYS = ("extends", "targets", "on")  # beside its fields


@dataclass(frozen=True)
class Plan:
    """What a site's files and the environment ask for, as far as it can be made. Whole only without faults."""

    targets: Mapping[str, HPCTarget]
    profiles: Mapping[str, ExecutionProfile]
    runners: Mapping[str, HPCJobRunner]
    default_target: str
    unset: Mapping[str, Sequence[Fault]]  # by target: the variables of its paths that are not set on this machine
    faults: Sequence[Fault]

    @classmethod
    def of(cls, settings: Settings, environ: Mapping[str, str]) -> Plan:
        mistakes: list[Fault] = faults_of_shape(settings, TOP_KEYS)
        if mistakes:
            return cls({}, {}, {}, "", {}, mistakes)
        variables = read_variables(environ, variable_fields(), mistakes)
        whole = settings.overridden_by(variables.only(["default_target"]))
        targets = with_inherited(whole.tables("targets"), "target", mistakes)
        profiles = with_inherited(whole.tables("profiles"), "profile", mistakes)
        making = _Making(whole, variables, targets, profiles, Faults(mistakes))
        plain = {name: making.profile(name) for name in profiles}
        for name, said in profiles.items():  # also where no runner is made of it
            for target in said.values.get("on", {}):
                making.profile(name, target)
        made, runners, unset = {}, {}, {}
        for name in targets:
            making.faults.unset.clear()
            made[name] = making.target(name)
            runners[name] = making.runner(name, made[name])
            unset[name] = list(dict.fromkeys(making.faults.unset))
        default = making.default_target()
        mistakes.sort(key=lambda fault: (fault.place.source.startswith("$"), fault.place))
        return cls(
            {name: target for name, target in made.items() if target is not None},
            {name: profile for name, profile in plain.items() if profile is not None},
            {name: runner for name, runner in runners.items() if runner is not None},
            default,
            unset,
            list(dict.fromkeys(mistakes)),
        )


def variable_fields() -> dict[str, Any]:
    """The fields that a variable of the environment may set, with their types."""
    models: list[type[Any]] = [HPCJobRunner, *map(target_class, target_kinds()), ExecutionProfile]
    fields = {key: field.annotation for model in models for key, field in model.model_fields.items()}
    never = ("target", "profiles", "profiles_elsewhere", "description", "limits", "retry", "name")
    return {"default_target": str, **{key: kind for key, kind in fields.items() if key not in never}}


@dataclass(frozen=True)
class _Making:
    """One site in the making. Each record that cannot be made leaves its faults."""

    site: Settings
    variables: Settings
    targets: Mapping[str, Settings]
    profiles: Mapping[str, Settings]
    faults: Faults
    made: dict[tuple[str, str | None], tuple[ExecutionProfile | None, Sequence[Fault]]] = field(default_factory=dict)

    def target(self, name: str) -> HPCTarget | None:
        said = self.targets[name]
        kind = said.values.get("kind")
        if not isinstance(kind, str):
            kinds = ", ".join(target_kinds())
            self.faults.add(said.place("kind"), f"[targets.{name}] needs a kind, as in kind = \"slurm\": {kinds}")
            return None
        try:
            model = target_class(kind)
        except ConfigurationError as error:
            self.faults.add(said.place("kind"), error.message)
            return None
        fields = list(model.model_fields)
        own = said.without("kind", "extends", *RUNNER_KEYS).overridden_by(self.variables.only(fields))
        limits = {queue: self._limits(own, queue) for queue in own.values.get("limits", {})}
        if None in limits.values():
            own = own.without("limits")
        elif limits:
            own = own.with_values(limits=limits)
        return record(model, own, f"a target of kind {kind}", self.faults, also=TARGET_KEYS)

    def _limits(self, target: Settings, queue: str) -> QueueLimits | None:
        said = target.table("limits", queue)
        set_by = {key: str(said.place(key)) for key in said.values}
        found = record(QueueLimits, said, "the table of a queue's limits", self.faults)
        return found and found.over(QueueLimits(set_by=set_by))

    def profile(self, name: str, target: str | None = None) -> ExecutionProfile | None:
        """The profile, as it is on this target. Where nothing differs it is made once: that costs milliseconds."""
        differs = target is not None and target in self.profiles[name].values.get("on", {})
        key = (name, target if differs else None)
        if key not in self.made:
            found = Faults(self.faults.mistakes)
            self.made[key] = (self._profile(*key, found), found.unset)
        profile, unset = self.made[key]
        self.faults.unset.extend(unset)
        return profile

    def _profile(self, name: str, target: str | None, faults: Faults) -> ExecutionProfile | None:
        said = self.profiles[name]
        named = {("targets", number): key for number, key in enumerate(said.values.get("targets", []))}
        named |= {("on", key): key for key in said.values.get("on", {})}
        for path, key in named.items():
            if key not in self.targets:
                hint = did_you_mean(str(key), list(self.targets))
                faults.add(said.place(*path), f"there is no target {key!r}: {hint}")
        own = said.without(*PROFILE_KEYS)
        if target is not None:
            own = own.overridden_by(said.table("on", target))
        own = own.overridden_by(self.variables.only(list(ExecutionProfile.model_fields)))
        return record(ExecutionProfile, own, "a profile", faults, also=PROFILE_KEYS)

    def runner(self, name: str, target: HPCTarget | None) -> HPCJobRunner | None:
        """The runner on this target, with the profiles that are meant for it."""
        settings = self.site.only(RUNNER_KEYS).overridden_by(self.targets[name].only(RUNNER_KEYS))
        settings = settings.overridden_by(self.variables.only(RUNNER_KEYS))
        here = [key for key, said in self.profiles.items() if name in said.values.get("targets", [name])]
        profiles = {key: self.profile(key, name) for key in here}
        elsewhere = {key: self._where(key) for key in self.profiles if key not in here}
        default = settings.values.get("default_profile")
        if default and default not in profiles:
            hint = elsewhere.get(default) or did_you_mean(str(default), list(profiles))
            place = settings.place("default_profile")
            self.faults.add(place, f"there is no profile {default!r} on {name}: {hint}")
        if "work_root" not in settings.values:
            self.faults.add(
                self.targets[name].origin,
                f"work_root is not set, neither at the top nor in [targets.{name}]: "
                "a folder that the compute nodes see, as in work_root = \"/scratch/$USER/dagster\"",
            )
            return None
        if isinstance(settings.values.get("retry"), list):
            rules = [
                record(RetryRule, settings.table("retry", number), "a retry rule", self.faults)
                for number in range(len(settings.values["retry"]))
            ]
            settings = settings.with_values(retry=[rule for rule in rules if rule is not None])
        whole = settings.with_values(
            target=target or LocalTarget(),  # so that the other mistakes are found, too
            profiles={key: profile for key, profile in profiles.items() if profile is not None},
            profiles_elsewhere=elsewhere,
        )
        made = record(HPCJobRunner, whole, "the site", self.faults)
        return made if target is not None else None

    def _where(self, profile: str) -> str:
        said = self.profiles[profile]
        return f"it is for {', '.join(map(str, said.values['targets']))} ({said.place('targets')})"

    def default_target(self) -> str:
        """The name of the target of those who name none; '' where nothing tells."""
        said = self.site.values.get("default_target", "")
        if said and said not in self.targets:
            hint = did_you_mean(str(said), list(self.targets))
            self.faults.add(self.site.place("default_target"), f"there is no target {said!r}: {hint}")
        return str(said) or (next(iter(self.targets)) if len(self.targets) == 1 else "")
