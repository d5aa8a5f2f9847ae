"""The blocks of qcsc-prefect 0.3 as a site file: command, execution profile and HPC profile become what they are here.

Read are the blocks' own fields, as JSON or TOML of any depth, and the configurations of its `create_blocks` scripts, which
describe one command, one profile and one target in a flat table.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.site.lines import Path as Keys
from dagster_hpc.site.toml_text import Comments, toml_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # Dagster brings it

_PROFILE = (
    "resource_class", "num_nodes", "mpiprocs", "ompthreads", "walltime", "launcher", "mpi_options", "modules",
    "pre_commands", "environments",
)  # fmt: skip
_TARGET = (
    "queue_cpu", "queue_gpu", "project_cpu", "project_gpu", "executable_map", "gfscache", "spack_modules",
    "mpi_options_for_pjm", "pjm_resources",
)  # fmt: skip
_OF_A_SCRIPT = ("queue", "project", "group", "work_dir")  # the words of create_blocks
_OF_PJM = ("gfscache", "spack_modules", "mpi_options_for_pjm", "pjm_resources")
_KINDS = ("slurm", "miyabi", "fugaku", "local")
_NO_MATTER = ("command_name", "profile_name", "block_type_slug", "hpc_target")


@dataclass
class Imported:
    """What has been found so far. `left`: keys that have no place in a site, each with where it stood."""

    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    commands: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    work_root: str = ""
    left: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The site file, with the lines of Python for its commands at the end."""
        default = {"default_target": next(iter(self.targets))} if self.targets else {}
        values = {
            **default, "work_root": self.work_root or "~/dagster-jobs", "targets": self.targets, "profiles": self.profiles,
        }  # fmt: skip
        lines = [f"{_variable(name)} = {_command(name, said)}" for name, said in self.commands.items()]
        python = ["", "# The commands belong to the code: from dagster_hpc import Command", *(f"# {line}" for line in lines)]
        first: Keys = (next(iter(values)),)
        text = toml_text(values, Comments(above={first: "Written by `dagster-hpc site import`."}))
        return text + "\n".join([*python, ""]) if lines else text


def import_blocks(paths: Sequence[Path]) -> Imported:
    """All blocks in these files together."""
    found = Imported()
    for path in paths:
        for name, said in _blocks(_read(path), path.stem):
            _take(found, name, said)
    if not (found.targets or found.profiles or found.commands):
        raise ConfigurationError(
            f"no block of qcsc-prefect is in {', '.join(map(str, paths))}",
            advice="give files that hold fields of CommandBlock, ExecutionProfileBlock or HPCProfileBlock, or a "
            "configuration of create_blocks.py.",
        )
    return found


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is neither TOML nor JSON that can be read: {error}") from error


def _blocks(value: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every table that is one of the blocks, however deep, by the key under which it stands."""
    if isinstance(value, list):
        for each in value:
            yield from _blocks(each, name)
    elif isinstance(value, Mapping):
        if value.keys() & {"hpc_target", "executable_key", "profile_name"}:
            yield name, value
        else:
            for key, each in value.items():
                named = value.get("name") if key in ("data", "document") else key
                yield from _blocks(each, str(named or name))


def _take(found: Imported, name: str, said: Mapping[str, Any]) -> None:
    if "executable_key" in said:
        used = _take_command(found, name, said)
    elif "profile_name" in said:
        used = _take_profile(found, str(said["profile_name"]), said)
    elif said.keys() & set(_OF_A_SCRIPT) or not said.keys() & set(_TARGET):
        used = _take_flat(found, name, said)
    else:
        used = _take_target(found, name, said)
    found.left += [f"{name}: {key}" for key in said if key not in used and key not in _NO_MATTER]


def _take_command(found: Imported, name: str, said: Mapping[str, Any]) -> Sequence[str]:
    found.commands[str(said.get("command_name") or name)] = said
    return ("executable_key", "description", "default_args")


def _take_profile(found: Imported, name: str, said: Mapping[str, Any]) -> Sequence[str]:
    found.profiles[name] = _kept(said, _PROFILE)
    return _PROFILE


def _take_target(found: Imported, name: str, said: Mapping[str, Any]) -> Sequence[str]:
    kind = _kind(said, name)
    qpu = {"qpu": said["slurm_qpu"]} if said.get("slurm_qpu") else {}
    keys = [key for key in _TARGET if kind == "fugaku" or key not in _OF_PJM]
    found.targets[kind if kind not in found.targets else name] = {"kind": kind, **_kept(said, keys), **qpu}
    return (*_TARGET, "slurm_qpu")


def _take_flat(found: Imported, name: str, said: Mapping[str, Any]) -> Sequence[str]:
    """A configuration of create_blocks: one table for a command, a profile and a target."""
    word = "gpu" if said.get("resource_class") == "gpu" else "cpu"
    programs = {key: name if key == "executable" else key.removesuffix("_executable") for key in said if _is_program(key)}
    target = {
        f"queue_{word}": said.get("queue"),
        f"project_{word}": said.get("group") or said.get("project"),
        **_kept(said, ("queue_cpu", "queue_gpu")),
        "executable_map": {program: said[key] for key, program in programs.items()},
        **{key: said.get(f"fugaku_{key}") for key in _OF_PJM},
        "hpc_target": said.get("hpc_target"),
    }
    _take_target(found, name, target)
    _take_profile(found, str(said.get("execution_profile_block_name") or name).removeprefix("exec-"), said)
    for program in programs.values():
        _take_command(found, program, {"executable_key": program})
    found.work_root = found.work_root or str(said.get("work_dir") or "")
    names = [key for key in said if key.endswith(("_block_name", "_variable_name"))]
    return (*_OF_A_SCRIPT, *_PROFILE, "queue_cpu", "queue_gpu", *programs, *names, *(f"fugaku_{key}" for key in _OF_PJM))


def _is_program(key: str) -> bool:
    return key == "executable" or key.endswith("_executable")


def _kept(said: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """What was said, without what is empty: that is the default here, too."""
    return {key: said[key] for key in keys if said.get(key) not in (None, "", [], {})}


def _kind(said: Mapping[str, Any], name: str) -> str:
    kind = str(said.get("hpc_target") or "miyabi")
    if kind not in _KINDS:
        raise ConfigurationError(f"{name}: hpc_target is {kind!r}, and qcsc-prefect has {', '.join(_KINDS)}")
    return kind


def _variable(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_") or "command"


def _command(name: str, said: Mapping[str, Any]) -> str:
    words = [json.dumps(said["executable_key"])]
    words += [f"args={json.dumps(said['default_args'])}"] if said.get("default_args") else []
    words += [f"name={json.dumps(name)}"] if name != said["executable_key"] else []
    words += [f"description={json.dumps(said['description'])}"] if said.get("description") else []
    return f"Command({', '.join(words)})"
