"""What is written is read again as it was, and looks as a person would write it."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.site.toml_text import Comments, toml_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXTS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=8)
SCALARS = st.one_of(TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)), max_leaves=12
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_values_come_back(values: dict[str, object]) -> None:
    assert tomllib.loads(toml_text(values)) == values


def test_it_looks_as_a_person_would_write_it() -> None:
    values = {
        "targets": {"cluster": {"executable_map": {"bitcount": "/apps/bitcount"}, "kind": "slurm"}},
        "retry": [{"on": ["OOM"], "memory": 1.5}],
        "work_root": "/scratch",
        "profiles": {"small": {}},
    }
    comments = Comments(
        above={("work_root",): "Seen by all nodes.", ("profiles", "small"): "For a try."},
        beside={("targets", "cluster", "kind"): "22.05"},
        below={("targets", "cluster"): "queue_gpu = \"accel\""},
    )  # fmt: skip
    assert toml_text(values, comments) == """\
# Seen by all nodes.
work_root = "/scratch"

[targets.cluster]
kind = "slurm"  # 22.05
# queue_gpu = "accel"

[targets.cluster.executable_map]
bitcount = "/apps/bitcount"

[[retry]]
on = ["OOM"]
memory = 1.5

# For a try.
[profiles.small]
"""
