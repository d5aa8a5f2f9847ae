"""Whatever stands in a site's file, loading it ends in a site or in faults with their lines, never in a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_hpc import ConfigurationError, Site
from dagster_hpc.site.toml_text import toml_text
from tests.site.test_catalogue import SITE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WHOLE = tomllib.loads(SITE)
LEAVES = st.one_of(st.text(max_size=3), st.integers(-2, 2), st.booleans(), st.just("cluster"), st.just("mpi"))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["cluster", "kind", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(each, (*path, key))


PLACES = [*places(WHOLE), *(("profiles", "mpi", key) for key in ("extends", "targets", "on", "walltime", "environments"))]


@given(st.sampled_from(PLACES), VALUES)
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_value_of_any_kind_in_any_place_is_a_site_or_a_fault_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: tuple[Any, ...], value: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    site = deepcopy(WHOLE)
    inner = site
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    Path("site.toml").write_text(toml_text(site))

    faults: list[str] = []
    try:
        Site.load("site.toml", environ={})
    except ConfigurationError as error:
        faults = error.faults

    assert all(fault.startswith("site.toml:") for fault in faults), faults
