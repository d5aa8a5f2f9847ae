"""Whether a site has tables where tables have to be, and names where names; what is in them is looked at later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.site.settings import Fault, Settings


def faults_of_shape(site: Settings, known: Sequence[str]) -> list[Fault]:
    """What keeps the site from being read any further. `known`: the keys that it may have at its top."""
    faults = [
        Fault(site.place(key), f"the site has no key {key!r}: {did_you_mean(key, known)}")
        for key in site.values
        if key not in known
    ]
    if not site.values.get("targets"):
        faults.append(Fault(site.origin, "the site has no target: begin one with a line [targets.NAME]"))
    faults += _no_tables(site, "targets") + _no_tables(site, "profiles")
    faults += _faults_of_settings(site)
    for kind in ("targets", "profiles") if not faults else ():
        for name, entry in site.values.get(kind, {}).items():
            faults += _faults_of_entry(site, kind, name, entry)
    return faults


def _faults_of_entry(site: Settings, kind: str, name: str, entry: Mapping[str, Any]) -> list[Fault]:
    faults = _no_tables(site, kind, name, "limits" if kind == "targets" else "on")
    if not isinstance(entry.get("extends", ""), str):
        faults.append(Fault(site.place(kind, name, "extends"), f"extends of [{kind}.{name}] is one name"))
    named = entry.get("targets", [])
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        place = site.place(kind, name, "targets")
        faults.append(Fault(place, f"targets of [{kind}.{name}] is a list of names, as in [\"cluster\"]"))
    return faults + (_faults_of_settings(site.table(kind, name)) if kind == "targets" else [])


def _faults_of_settings(table: Settings) -> list[Fault]:
    """Of what stands at the top, and may stand in a target's table."""
    faults = [
        Fault(table.place(key), f"{key} is {table.values[key]!r}, and has to be a name")
        for key in ("default_target", "default_profile")
        if not isinstance(table.values.get(key, ""), str)
    ]
    rules = table.values.get("retry", [])
    if not isinstance(rules, list) or not all(isinstance(rule, Mapping) for rule in rules):
        faults.append(Fault(table.place("retry"), "retry has to be a list of tables: [[retry]]"))
    return faults


def _no_tables(site: Settings, *path: str) -> list[Fault]:
    """Where a table of tables was to be, as in [targets.NAME]."""
    value: Any = site.values
    for key in path:
        value = value.get(key, {})
    header = ".".join(path)
    if not isinstance(value, Mapping):
        return [Fault(site.place(*path), f"{header} is {value!r}, and has to be a table: [{header}.NAME]")]
    return [
        Fault(site.place(*path, name), f"{header} has {name} = {each!r}, and has to have tables only: [{header}.NAME]")
        for name, each in value.items()
        if not isinstance(each, Mapping)
    ]
