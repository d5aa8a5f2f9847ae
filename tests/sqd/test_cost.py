"""The cost model finds the coefficients that the figures were made with, and says when it cannot."""

from __future__ import annotations

from itertools import product
from math import inf

import numpy as np
import pytest

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobMetrics, JobState
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.sqd.cost import TIME_TERMS, Observation, Shape, fit_cost, observations, recommend

TRUE = {"start": 3.0, "parallel work": 2e-4, "serial work": 1e-6, "communication": 0.05}
SHAPES = [Shape(*one) for one in product((1, 2, 4), (1, 4, 16), (10_000, 100_000, 1_000_000))]


def seconds(shape: Shape) -> float:
    return sum(value * TIME_TERMS[name](shape) for name, value in TRUE.items())


def measured(noise: float = 0.0, seed: int = 1) -> list[Observation]:
    rng = np.random.default_rng(seed)
    memory = [50 + 1e-4 * shape.dimension / (shape.nodes * shape.ranks) for shape in SHAPES]
    return [
        Observation(shape, seconds(shape) * (1 + noise * rng.standard_normal()), mib)
        for shape, mib in zip(SHAPES, memory, strict=True)
    ]


def test_known_coefficients_are_found() -> None:
    model = fit_cost(measured())
    assert {name: one.value for name, one in model.coefficients.items()} == pytest.approx(TRUE, rel=1e-6)
    assert model.rms < 1e-9
    assert model.left_out < 1e-9
    assert model.r_squared == pytest.approx(1.0)


def test_noise_is_told_as_it_is() -> None:
    model = fit_cost(measured(noise=0.05))
    assert 0.02 < model.rms < 0.08
    assert model.rms < model.left_out < 0.2
    for name, true in TRUE.items():
        found = model.coefficients[name]
        assert found.error is not None
        assert abs(found.value - true) < 4 * found.error
    assert f"{model.rms:.0%}" in model.sentence


def test_memory_has_a_model_of_its_own() -> None:
    model = fit_cost(measured(), "max_rss_mib")
    assert model.coefficients["program"].value == pytest.approx(50)
    assert model.coefficients["share of the state"].value == pytest.approx(1e-4)
    assert model.coefficients["copy of the state"].value == pytest.approx(0, abs=1e-9)


def test_terms_that_cannot_be_told_apart_are_named() -> None:
    model = fit_cost([job for job in measured() if job.shape[:2] == (1, 1)])
    assert model.undetermined == ("serial work", "communication")
    assert "cannot tell serial work, communication" in model.sentence
    assert model.predict(Shape(1, 1, 50_000)) == pytest.approx(seconds(Shape(1, 1, 50_000)))


def test_too_few_jobs_for_a_test_is_said() -> None:
    model = fit_cost(measured()[:4])
    assert model.left_out == inf
    assert "too few jobs" in model.sentence
    with pytest.raises(ConfigurationError, match="1 of 1 jobs know their elapsed_s; a model needs two"):
        fit_cost(measured()[:1])


def test_no_coefficient_is_negative() -> None:
    falling = [Observation(Shape(1, ranks, 1000), 100.0 / ranks) for ranks in (1, 2, 4, 8)]
    assert all(one.value >= 0 for one in fit_cost(falling).coefficients.values())


def test_the_cheapest_layout_is_recommended_and_the_fastest_in_a_hurry() -> None:
    jobs = measured()
    time, layouts = fit_cost(jobs), [(1, 1), (1, 4), (1, 16), (2, 16), (4, 16)]
    cheap = recommend(1_000_000, layouts, time)
    assert cheap.choice is not None
    assert cheap.choice.shape == (1, 16, 1_000_000)
    assert not cheap.choice.extrapolated
    hurry = recommend(1_000_000, layouts, time, within_s=seconds(Shape(2, 16, 1_000_000)) + 0.01)
    assert hurry.choice is not None
    assert hurry.choice.shape.nodes == 2


def test_what_does_not_fit_is_not_recommended_and_says_why() -> None:
    jobs = measured()
    time, memory = fit_cost(jobs), fit_cost(jobs, "max_rss_mib")
    small = recommend(1_000_000, [(1, 1), (1, 16)], time, memory, memory_per_node_mib=500)
    assert small.choice is not None
    assert small.choice.shape.ranks == 1  # sixteen copies of the program do not fit
    none = recommend(1_000_000, [(1, 1)], time, within_s=1)
    assert none.choice is None
    assert "no layout fits: 1x1:" in none.sentence
    with pytest.raises(ConfigurationError, match="needs a model of memory"):
        recommend(1000, [(1, 1)], time, memory_per_node_mib=500)


def test_extrapolation_is_said() -> None:
    found = recommend(10**9, [(4, 16)], fit_cost(measured()))
    assert found.choice is not None
    assert found.choice.extrapolated
    assert "outside of what was measured" in found.sentence


def test_observations_come_from_jobs_that_ended_well() -> None:
    def row(state: JobState, partition: str | None, elapsed: float | None) -> JobRow:
        return JobRow(
            "t", "t", "x", "local", "local", "/", state, 0.0, partition_key=partition,
            metrics=JobMetrics(elapsed_s=elapsed),
        )  # fmt: skip

    rows = [
        row(JobState.COMPLETED, "100|1x2", 2.0),
        row(JobState.FAILED, "100|1x2", 3.0),
        row(JobState.COMPLETED, None, 4.0),
        row(JobState.COMPLETED, "100|1x4", None),
    ]
    found = observations(rows, lambda one: Shape(1, 2, 100) if one.partition_key else None)
    assert found == [Observation(Shape(1, 2, 100), 2.0)]
