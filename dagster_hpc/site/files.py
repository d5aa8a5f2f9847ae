"""Where the files of a site are, and how they are read: system-wide, the user's, the project's, in that order."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.site.lines import lines_of
from dagster_hpc.site.settings import Place, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # Dagster brings it

FILE = "site.toml"
SYSTEM_WIDE = Path("/etc/dagster_hpc") / FILE
VARIABLE = "DAGSTER_HPC_SITE"
_ROOT_MARKS = ("pyproject.toml", "dg.toml", "workspace.yaml", ".git")
_WRITE_ONE = "`dagster-hpc site new > site.toml` asks the scheduler of this machine and writes a first one."


def candidates(environ: Mapping[str, str], folder: Path) -> list[Path]:
    """The places where a site's files may be; a later one goes before an earlier one."""
    system = Path(environ[VARIABLE]).expanduser() if environ.get(VARIABLE) else SYSTEM_WIDE
    config = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [system, config / "dagster_hpc" / FILE, _project_file(folder)]


def read_site(environ: Mapping[str, str], folder: Path) -> Settings:
    """All files of the site together."""
    places = candidates(environ, folder)
    if environ.get(VARIABLE) and not places[0].is_file():
        raise ConfigurationError(f"{VARIABLE} is {environ[VARIABLE]!r}, and there is no such file", advice=_WRITE_ONE)
    found = [path for path in places if path.is_file()]
    if not found:
        raise ConfigurationError(f"there is no site file: {', '.join(map(str, places))}", advice=_WRITE_ONE)
    return read_files(found)


def read_files(paths: list[Path]) -> Settings:
    """These files together, the later ones over the earlier. All that are no TOML are told at once."""
    site, faults = Settings(), []
    for path in paths:
        try:
            site = site.overridden_by(read_file(path))
        except ConfigurationError as error:
            faults += error.faults
    if faults:
        raise ConfigurationError(faults, advice=_WRITE_ONE if not all(map(Path.is_file, paths)) else "")
    return site


def read_file(path: Path) -> Settings:
    """One file."""
    shown = _shown(path)
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(f"{shown} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{shown} is no UTF-8: {error}") from error
    except tomllib.TOMLDecodeError as error:
        where = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)", str(error))
        line = int(where[1]) if where and where[1] else text.count("\n") + 1
        raise ConfigurationError(f"{Place(shown, line)}: this is no TOML: {error}") from error
    places = {key: Place(shown, line) for key, line in lines_of(text).items()}
    return Settings(values, places, Place(shown, 1))


def _project_file(folder: Path) -> Path:
    """The nearest one from here up to the folder that has the marks of a project; here, where there is none."""
    above = [folder, *folder.parents]
    root = next((number for number, each in enumerate(above) if any((each / mark).exists() for mark in _ROOT_MARKS)), 0)
    return next((each / FILE for each in above[: root + 1] if (each / FILE).is_file()), folder / FILE)


def _shown(path: Path) -> str:
    """As a person would name it from here."""
    full, here = path.absolute(), Path.cwd()
    return os.path.relpath(full, here) if here in full.parents else str(full)
