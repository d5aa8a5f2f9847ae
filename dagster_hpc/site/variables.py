"""Variables of the environment that go before the files of a site: `DAGSTER_HPC_WALLTIME=00:10:00 dagster dev`.

`DAGSTER_HPC_TARGET` and `DAGSTER_HPC_PROFILE` stand in place of `default_target` and `default_profile`, so they decide for
those who name none: an asset that names a profile keeps it, because it names how its program runs well.
`DAGSTER_HPC_<FIELD>` replaces a field of every profile, of every target, or of the runner, whichever has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from dagster_hpc.resources.text_values import from_text
from dagster_hpc.site.lines import Path
from dagster_hpc.site.settings import Fault, Place, Settings

PREFIX = "DAGSTER_HPC_"
RENAMED = {"TARGET": "default_target", "PROFILE": "default_profile"}
OTHERS = ("LEDGER", "SITE", "REQUIRE")  # read elsewhere in this package and its tests
_SURELY_MEANT = 0.8


def variable(field: str) -> str:
    """`walltime` → `DAGSTER_HPC_WALLTIME`."""
    short = {name: key for key, name in RENAMED.items()}
    return PREFIX + short.get(field, field.upper())


def read_variables(environ: Mapping[str, str], fields: Mapping[str, Any], faults: list[Fault]) -> Settings:
    """What the environment says of these fields, whose types are given. An empty variable says nothing."""
    values: dict[str, Any] = {}
    places: dict[Path, Place] = {}
    for field, annotation in fields.items():
        name = variable(field)
        if environ.get(name):
            place = places[(field,)] = Place(f"${name}")
            try:
                values[field] = from_text(annotation, environ[name])
            except ValueError as error:
                faults.append(Fault(place, str(error)))
    known = [variable(field).removeprefix(PREFIX) for field in fields]
    faults += [
        Fault(Place(f"${name}"), f"nothing is called so: did you mean {PREFIX}{near[0]}?")
        for name in unknown_variables(environ, list(fields))
        if (near := get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=_SURELY_MEANT))
    ]
    return Settings(values, places, Place("the environment"))


def unknown_variables(environ: Mapping[str, str], fields: Sequence[str]) -> list[str]:
    """Those that look like ours, and are read by nobody here. They may be those of the user's own code."""
    known = {variable(field) for field in fields} | {PREFIX + name for name in OTHERS}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def set_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Those that may go before the files, with their values."""
    others = {PREFIX + name for name in OTHERS}
    return {
        name: value for name, value in sorted(environ.items()) if name.startswith(PREFIX) and value and name not in others
    }
