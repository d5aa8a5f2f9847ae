"""Entries that build on one another: `extends`, over as many levels as one likes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.site.settings import Fault, Settings

_OWN = ("extends", "description")  # what is said of one entry does not describe another one


def with_inherited(entries: Mapping[str, Settings], what: str, faults: list[Fault]) -> dict[str, Settings]:
    """Each entry with all that it has from those that it extends. `what`: what they are, for the faults."""
    circles: set[str] = set()

    def whole(name: str, extending: tuple[str, ...]) -> Settings:
        mine = entries[name]
        parent = mine.values.get("extends")
        if parent is None:
            return mine
        if parent not in entries:
            known = [each for each in entries if each != name]
            hint = did_you_mean(str(parent), known) if known else f"there is no other {what}"
            faults.append(Fault(mine.place("extends"), f"{what} {name!r} extends {parent!r}, which there is not: {hint}"))
            return mine
        if parent in (*extending, name):
            circle = (*extending, name)[(*extending, name).index(parent) :]
            if not circles & set(circle):
                faults.append(Fault(mine.place("extends"), f"{' extends '.join((*circle, parent))}: that is a circle"))
            circles.update(circle)
            return mine
        theirs = whole(parent, (*extending, name)).without(*_OWN)
        return replace(theirs.overridden_by(mine), origin=mine.origin)

    return {name: whole(name, ()) for name in entries}
