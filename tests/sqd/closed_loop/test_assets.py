"""The closed loop as an asset: typed, stored without pickle, every trial and the picture in its metadata."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from dagster_hpc import HPCJobRunner
from dagster_hpc.dagster_values import plain
from dagster_hpc.dice import DiceSolver
from dagster_hpc.engine.errors import ConfigurationError, HPCError
from dagster_hpc.sqd.closed_loop import ClosedLoopResult, build_closed_loop_asset
from dagster_hpc.sqd.closed_loop.assets import ClosedLoopResultType
from dagster_hpc.sqd.files import from_bytes, to_bytes
from tests.dice.test_solver import local_runner
from tests.sqd.closed_loop.made import integrals, loop, numbers_of, strings_of_weights

pytest.importorskip("qiskit_addon_sqd")
hpc = pytest.fixture(local_runner, name="hpc")

BUILT: dict[str, Any] = {
    "generations": 2, "population": 4, "shots": 20, "samples_per_batch": 6, "sqd_iterations": 1, "max_dim": 4,
    "initial_occupancies": None, "start": np.zeros(6), "sampler": strings_of_weights, "spread": 0.5,
}  # fmt: skip
QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


def materialize(instance: dg.DagsterInstance, asset: Any, config: Any = None, **more: Any) -> Any:
    given = {**QUIET, "ops": {"closed_loop": {"config": config or {}}}}
    return dg.materialize([asset], instance=instance, run_config=given, **more)


def metadata(done: Any) -> dict[str, Any]:
    (event,) = done.asset_materializations_for_node("closed_loop")
    return dict(plain(event.metadata))


def test_every_trial_and_a_picture_are_in_the_metadata(instance: dg.DagsterInstance) -> None:
    sampled: list[int] = []

    def sampler(parameters: Any, shots: int, seed: int) -> Any:
        sampled.append(seed)
        if len(sampled) == 2:
            raise HPCError("the device was busy")
        return strings_of_weights(parameters, shots, seed)

    done = materialize(instance, build_closed_loop_asset(integrals(), solver=None, **{**BUILT, "sampler": sampler}))
    found, value = metadata(done), done.output_for_node("closed_loop")
    assert found["energy"] == pytest.approx(found["energy_without_core"] + found["core_energy"])
    assert found["correlation_energy"] == pytest.approx(found["energy"] - found["hf_energy"])
    assert found["energy"] <= found["first_energy"]
    assert found["parameters"] == pytest.approx(value.parameters, abs=1e-11)
    assert (found["trials"], found["trials_failed"], found["generations"]) == (8, 1, 2)
    rows = [row.data for row in found["trial_table"].records]
    assert [(row["generation"], row["trial"]) for row in rows] == [(g, t) for g in (1, 2) for t in range(4)]
    assert rows[1]["problem"] == "the device was busy"
    assert rows[1]["energy"] is None
    assert min(row["energy"] for row in rows if row["energy"]) == pytest.approx(found["energy"])
    best = [row.data["energy"] for row in found["generation_table"].records]
    assert best == sorted(best, reverse=True)
    png = base64.b64decode(found["picture"].partition("base64,")[2].rstrip(")"))
    assert png.startswith(b"\x89PNG")


def test_a_second_run_takes_what_the_first_has_finished(instance: dg.DagsterInstance) -> None:
    asset = build_closed_loop_asset(integrals(), solver=None, **BUILT)
    first = metadata(materialize(instance, asset))
    again = materialize(instance, asset, {"generations": 3})
    assert metadata(again)["generations_resumed"] == 2
    assert metadata(again)["energy"] <= first["energy"]
    anew = materialize(instance, asset, {"reuse": "never"})
    assert metadata(anew)["generations_resumed"] == 0
    assert metadata(anew)["energy"] == first["energy"]


def test_its_generations_are_array_jobs(instance: dg.DagsterInstance, hpc: HPCJobRunner) -> None:
    asset = build_closed_loop_asset(integrals(), **BUILT)
    dice = DiceSolver(hpc=hpc, select_cutoff=None)
    done = materialize(instance, asset, {"generations": 1, "in_process_below": 0}, resources={"dice": dice})
    found = metadata(done)
    assert found["jobs"] == len(hpc.jobs()) == 4
    assert found["all_jobs_node_hours"] > 0
    assert sum(row.data["jobs"] for row in found["trial_table"].records) == 4


def test_the_value_comes_back_as_it_was() -> None:
    result = loop(generations=2)
    back = from_bytes(to_bytes(result))
    assert isinstance(back, ClosedLoopResult)
    assert numbers_of(back) == numbers_of(result)
    assert back.trials == result.trials
    assert back.parameters.tolist() == result.parameters.tolist()
    assert (back.energy, back.nelec, back.seed) == (result.energy, result.nelec, result.seed)
    assert [part.tolist() for part in back.carryover] == [part.tolist() for part in result.carryover]
    for value, passes in ((result, True), (replace(result, energy=float("nan")), False), ({}, False)):
        assert ClosedLoopResultType.type_check(None, value).success is passes  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"reuse": "sometimes"}, "reuse is 'sometimes'"),
        ({"initial_occupancies": "mp2"}, "initial_occupancies is 'mp2'"),
        ({"strategy": "best2bin"}, "strategy of the evolution is 'best2bin'"),
    ],
)
def test_a_wrong_request_fails_the_step_with_its_sentence(
    instance: dg.DagsterInstance, config: Any, words: str
) -> None:
    with pytest.raises(dg.Failure, match=words):
        materialize(instance, build_closed_loop_asset(integrals(), solver=None, **BUILT), config)


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no option 'generation'"):
        build_closed_loop_asset(integrals(), generation=3)
