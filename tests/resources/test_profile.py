"""HOW: the execution profile and its overrides."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from dagster_hpc import ConfigurationError, ExecutionProfile, HPCJobRunner, LocalTarget, SlurmTarget
from dagster_hpc.resources.profile import ProfileOverrides

PROFILE = ExecutionProfile(num_nodes=2, mpiprocs=8, walltime="01:00:00", launcher="srun", modules=["gcc", "openmpi"])


def test_overrides_replace_fields_and_leave_the_others() -> None:
    changed = PROFILE.with_overrides({"num_nodes": 4, "modules": ["intel"]})
    assert (changed.num_nodes, changed.mpiprocs, changed.modules) == (4, 8, ["intel"])
    assert (PROFILE.num_nodes, PROFILE.modules) == (2, ["gcc", "openmpi"])


@pytest.mark.parametrize("nothing", [None, {}, {"num_nodes": None}])
def test_no_overrides_change_nothing(nothing: dict[str, Any] | None) -> None:
    assert PROFILE.with_overrides(nothing) == PROFILE


def test_every_field_that_a_job_feels_but_the_resource_class_may_be_overridden() -> None:
    others = set(ExecutionProfile.model_fields) - {"resource_class", "description"}
    assert others == set(ProfileOverrides.model_fields)
    with pytest.raises(ConfigurationError, match="overrides has no key 'resource_class'"):
        PROFILE.with_overrides({"resource_class": "gpu"})


def test_an_unknown_key_suggests_the_nearest_and_lists_all() -> None:
    with pytest.raises(ConfigurationError, match="overrides has no key 'waltime': did you mean 'walltime'") as refused:
        PROFILE.with_overrides({"waltime": "1h"})
    assert "mpiprocs" in refused.value.advice


def test_all_unknown_keys_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        PROFILE.with_overrides({"waltime": "1h", "nodes": 3})
    assert len(refused.value.faults) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_nodes", "two"), ("num_nodes", 0), ("mpiprocs", -1), ("modules", "gcc"), ("launcher", "aprun"),
     ("exclusive", "perhaps"), ("environments", {"A": None})],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_an_error_that_names_key_and_value(key: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"overrides: {key}") as refused:
        PROFILE.with_overrides({key: value})
    assert "given:" in str(refused.value)


@pytest.mark.parametrize("record", [ExecutionProfile, LocalTarget, SlurmTarget, HPCJobRunner])
def test_a_mistyped_field_is_an_error_and_not_silently_the_default(record: type[dg.ConfigurableResource[Any]]) -> None:
    needed = {"target": LocalTarget(), "work_root": "/x"} if record is HPCJobRunner else {}
    with pytest.raises(ValidationError, match="waltime"):
        record(**needed, waltime="1h")


def test_the_defaults_ask_for_one_process_for_five_minutes() -> None:
    plain = ExecutionProfile()
    assert (plain.num_nodes, plain.mpiprocs, plain.launcher, plain.walltime) == (1, 1, "single", "00:05:00")
    assert (plain.resource_class, plain.gpus_per_node, plain.ompthreads, plain.exclusive) == ("cpu", 0, None, False)
