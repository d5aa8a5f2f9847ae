"""WHAT, HOW and WHERE → one flat `JobSpec`. Everything is checked here, and all faults are told at once."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.engine.job import MAIL_KINDS, Dependency, JobSpec, Program
from dagster_hpc.engine.jobdir import PROTOCOL_DIR, SCHEDULER_LOG, STDERR, STDOUT
from dagster_hpc.engine.launchers import launcher_faults
from dagster_hpc.engine.script import quoting_faults
from dagster_hpc.engine.units import parse_memory, parse_signal, parse_walltime
from dagster_hpc.resources.command import Command, InputFile
from dagster_hpc.resources.env_vars import with_env_values
from dagster_hpc.resources.limits import limit_faults
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.targets.base import HPCTarget

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MAIL = re.compile(r"[\w.+%-]+(@[\w.-]+)?", re.ASCII)
_READ_ONLY = ("UID", "EUID", "PPID", "BASHOPTS", "SHELLOPTS", "BASH_VERSINFO")
_LONGEST_WORD = 128 * 1024 - 1  # Linux takes no longer argument or environment entry


def resolve(
    command: Command,
    profile: ExecutionProfile,
    target: HPCTarget,
    *,
    args: Sequence[str] = (),
    outputs: Mapping[str, str] | None = None,
    elements: Sequence[Sequence[str]] = (),
    commands: Sequence[Command] = (),
    element_limit: int | None = None,
    dependencies: Sequence[Dependency] = (),
    name: str | None = None,
    folder: str | None = None,
) -> JobSpec:
    """The job that these records describe together. `ConfigurationError` with every fault that can be seen now.

    `elements`: an array job, the further arguments of each element. `commands`: one of these commands, which may be
    different programs; `command` is then the first of them. `folder`: where the jobs' directories will be, to see
    whether the compute nodes see it.
    """
    faults: list[str] = []

    def checked(function: Any, *values: Any) -> Any:
        try:
            return function(*values)
        except ValueError as error:
            faults.append(str(error))
        except ConfigurationError as error:
            faults.extend(error.faults)
        return None

    profile, target = with_env_values(profile), with_env_values(target)
    environment = sorted(profile.environments.items())
    secret = set(profile.secret_environments)
    route = target.route(profile.resource_class)
    signal = checked(parse_signal, profile.signal_before_end) if profile.signal_before_end else None
    programs = [
        Program("" if one.script is not None else (checked(target.executable, one.executable) or ""), one.script, one.stdin)
        for one in (commands or [command])
    ]
    words = [(*_words(one.args), *_words(args)) for one in commands]
    alike = len(set(programs)) == 1
    spec = JobSpec(
        name=name or command.job_name,
        **vars(programs[0] if alike else Program()),
        args=() if commands else (*_words(command.args), *_words(args)),
        outputs=tuple(sorted((outputs or {}).items())),
        elements=tuple(words) if commands else tuple(_words(element) for element in elements),
        programs=() if alike else tuple(programs),
        element_limit=element_limit,
        nodes=profile.num_nodes,
        ranks_per_node=profile.mpiprocs,
        threads_per_rank=profile.ompthreads,
        gpus_per_node=profile.gpus_per_node,
        memory_per_node_mib=checked(parse_memory, profile.memory_per_node) if profile.memory_per_node else None,
        walltime_s=checked(parse_walltime, profile.walltime) or 0,
        launcher=profile.launcher,
        launcher_options=tuple(profile.mpi_options),
        modules=tuple(profile.modules),
        pre_commands=tuple(profile.pre_commands),
        environment=tuple((name, value) for name, value in environment if name not in secret),
        secret_environment=tuple((name, value) for name, value in environment if name in secret),
        container=profile.container,
        exclusive=profile.exclusive,
        qos=profile.qos,
        reservation=profile.reservation,
        signal_name=signal[0] if signal else None,
        signal_before_s=signal[1] if signal else None,
        mail_to=profile.mail_to,
        mail_on=tuple(profile.mail_on) if profile.mail_to else (),
        directives=tuple(profile.directives),
        dependencies=tuple(dependencies),
        queue=route.queue,
        project=route.project,
        options=_option_pairs(target.options()),
    )
    spec = target.adapt(spec)
    faults += target.faults(profile.resource_class) + (target.place_faults(spec, folder) if folder else [])
    faults += limit_faults(target.limits, spec)
    faults += launcher_faults(spec) + target.scheduler.unsupported(spec)
    faults += (
        _secret_faults(profile)
        + _environment_faults(spec)
        + _text_faults(spec)
        + _directive_faults(spec)
        + _mail_faults(spec)
        + _path_faults([path for _, path in spec.outputs], "output")
    )
    if faults:
        raise ConfigurationError(list(dict.fromkeys(faults)), advice="correct this in the profile, target or command.")
    return spec


def read_inputs(inputs: Mapping[str, InputFile]) -> dict[str, bytes]:
    """The contents of the input files; text as UTF-8, a path read now."""
    faults = _path_faults(list(inputs), "input")
    contents: dict[str, bytes] = {}
    for name, source in inputs.items():
        try:
            contents[name] = _content(source)
        except OSError as error:
            faults.append(f"the input {name!r} cannot be read: {error}")
    if faults:
        raise ConfigurationError(faults)
    return contents


def _content(source: InputFile) -> bytes:
    if isinstance(source, bytes):
        return source
    return source.encode("utf-8", "surrogateescape") if isinstance(source, str) else source.read_bytes()


def _words(args: Sequence[str]) -> tuple[str, ...]:
    if isinstance(args, str):
        raise ConfigurationError(f"args is the string {args!r}: give a list of words, as in ['--input', 'a.txt']")
    return tuple(os.fspath(word) if hasattr(word, "__fspath__") else str(word) for word in args)


def _option_pairs(options: Mapping[str, str | Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """A list becomes the same name with each of its values, in their order."""
    lists = ((name, [given] if isinstance(given, str) else given) for name, given in sorted(options.items()))
    return tuple((name, value) for name, values in lists for value in values)


def _secret_faults(profile: ExecutionProfile) -> list[str]:
    """A secret under a mistyped name would stand in the script."""
    known = list(profile.environments)
    return [
        f"secret_environments has {name!r}, which environments does not set: {did_you_mean(name, known)}"
        for name in profile.secret_environments
        if name not in known
    ]


def _environment_faults(spec: JobSpec) -> list[str]:
    names = [name for name, _ in (*spec.environment, *spec.secret_environment)]
    return [
        f"environments: {name!r} is no name for an environment variable"
        for name in names
        if not _VARIABLE.fullmatch(name)
    ] + [f"environments: bash does not let {name} be set" for name in names if name in _READ_ONLY]


def _mail_faults(spec: JobSpec) -> list[str]:
    """An address that would end its directive, or that is several, which not every system takes."""
    address, kinds = spec.mail_to, MAIL_KINDS
    unknown = [f"mail_on has {kind!r}: {did_you_mean(kind, kinds)}" for kind in spec.mail_on if kind not in kinds]
    if address is None or _MAIL.fullmatch(address):
        return unknown
    return [*unknown, f"mail_to {address!r} is no mail address and no user's name: give one, as in me@example.org"]


def _text_faults(spec: JobSpec) -> list[str]:
    """Values that cannot be handed to a program at all."""
    words = {f"argument {number}": word for number, word in enumerate(spec.args, 1)}
    for index, element in enumerate(spec.elements):
        words |= {f"argument {number} of element {index}": word for number, word in enumerate(element, 1)}
    variables = (*spec.environment, *spec.secret_environment)
    environment = {f"environments[{name}]": value for name, value in variables}
    entries = {f"environments[{name}]": f"{name}={value}" for name, value in variables}
    words |= {"executable": spec.executable, **{f"mpi_options[{n}]": w for n, w in enumerate(spec.launcher_options)}}
    faults = [
        f"{where} is longer than the {_LONGEST_WORD} bytes that Linux takes: put it into an input file"
        for where, word in {**words, **entries}.items()
        if len(word) > _LONGEST_WORD // 4 and len(word.encode("utf-8", "replace")) > _LONGEST_WORD
    ]
    if spec.shell is not None:
        words["the shell script"] = spec.shell
    if spec.stdin is not None:
        words["stdin"] = spec.stdin
    for index, program in enumerate(spec.programs):
        texts = {"executable": program.executable, "the shell script": program.shell, "stdin": program.stdin}
        words |= {f"{what} of element {index}": text for what, text in texts.items() if text is not None}
    words |= environment | {f"pre_commands[{number}]": line for number, line in enumerate(spec.pre_commands)}
    return faults + quoting_faults(words)


def _directive_faults(spec: JobSpec) -> list[str]:
    """A line break in a directive would be a second directive."""
    values = {
        "queue": spec.queue,
        "project": spec.project,
        "qos": spec.qos or "",
        "reservation": spec.reservation or "",
        "container": spec.container or "",
        **{f"modules[{number}]": module for number, module in enumerate(spec.modules)},
        **{f"directives[{number}]": line for number, line in enumerate(spec.directives)},
        **{f"{name}[{number}]": value for number, (name, value) in enumerate(spec.options)},
    }
    faults = [
        f"{where} is {value!r}, which may not contain a line break or NUL"
        for where, value in values.items()
        if any(character in value for character in "\n\r\0")
    ]
    faults += [
        f"directives[{number}] is {line!r}: a directive is a comment line for the scheduler and begins with '#'"
        for number, line in enumerate(spec.directives)
        if not line.startswith("#")
    ]
    return faults


def _path_faults(paths: Sequence[str], what: str) -> list[str]:
    """Inputs and outputs are files below the job's directory, and not the job's own."""
    faults = []
    for path in paths:
        normal = posixpath.normpath(path)
        if not path or path.endswith("/") or posixpath.isabs(path) or normal in (".", "..") or normal.startswith("../"):
            faults.append(f"{what} {path!r} is no file path inside the job's directory")
        elif normal.split("/")[0] in (PROTOCOL_DIR, STDOUT, STDERR, SCHEDULER_LOG) and what == "input":
            faults.append(f"input {path!r} has a name that the job itself uses")
        elif any(character in path for character in "\n\r\0"):
            faults.append(f"{what} {path!r} contains a line break or NUL")
    return faults
