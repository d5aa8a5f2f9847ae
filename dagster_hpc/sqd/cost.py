"""What a diagonalization costs, fitted to jobs that ran: least squares over the ledger, with its residuals told.

A model is a sum of terms that mean something, each with a coefficient that cannot be negative. Residuals are relative, so
that a job of a second counts as much as one of an hour. Terms that the jobs cannot tell apart are left out, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.engine.ledger import JobRow

Quantity: TypeAlias = Literal["elapsed_s", "max_rss_mib"]
_SAME = 1e-9  # of its length is what a column must add to those before it


class Shape(NamedTuple):
    """What a job is asked to do, on what."""

    nodes: int
    ranks: int  # per node
    dimension: int  # determinants


@dataclass(frozen=True)
class Observation:
    """A job that ended well.

    Example:
        Observation(Shape(nodes=2, ranks=16, dimension=400_000), elapsed_s=31.5, max_rss_mib=820.0)
    """

    shape: Shape
    elapsed_s: float | None
    max_rss_mib: float | None = None


Term: TypeAlias = "Callable[[Shape], float]"
TIME_TERMS: Mapping[str, Term] = {
    "start": lambda shape: 1.0,
    "parallel work": lambda shape: shape.dimension / (shape.nodes * shape.ranks),
    "serial work": lambda shape: float(shape.dimension),
    "communication": lambda shape: shape.nodes * shape.ranks - 1.0,
}
MEMORY_TERMS: Mapping[str, Term] = {
    "program": lambda shape: 1.0,
    "share of the state": lambda shape: shape.dimension / (shape.nodes * shape.ranks),
    "copy of the state": lambda shape: float(shape.dimension),
}
_TERMS: Mapping[str, Mapping[str, Term]] = {"elapsed_s": TIME_TERMS, "max_rss_mib": MEMORY_TERMS}


class Coefficient(NamedTuple):
    """In the unit of the quantity. `error` is one standard deviation; None where the jobs are too few to say."""

    value: float
    error: float | None


@dataclass(frozen=True)
class CostModel:
    """A fit, and how good it is.

    Example:
        shapes = [Shape(nodes, 4, size) for nodes in (1, 2) for size in (10_000, 100_000)]
        model = fit_cost([Observation(shape, 2.0 + 1e-4 * shape.dimension / shape.nodes) for shape in shapes])
        assert isinstance(model, CostModel)
        model.predict(Shape(nodes=2, ranks=16, dimension=10**7))
        print(model.rms, model.worst, model.left_out)  # relative residuals
    """

    quantity: str
    coefficients: Mapping[str, Coefficient]
    undetermined: tuple[str, ...]  # terms that these jobs cannot tell from the others
    jobs: int
    rms: float  # relative residuals, all jobs
    worst: float
    left_out: float  # rms of each job predicted from the others only; infinite where it cannot be
    r_squared: float
    residuals: tuple[tuple[Observation, float], ...]  # predicted / measured - 1
    seen: tuple[Shape, Shape]  # smallest and largest of everything
    terms: Mapping[str, Term]

    def predict(self, shape: Shape) -> float:
        return sum(one.value * self.terms[name](shape) for name, one in self.coefficients.items())

    def error(self) -> float:
        """The relative error to reckon with: from jobs that the fit did not know, where there are enough."""
        return self.left_out if isfinite(self.left_out) else max(self.rms, self.worst)

    def extrapolates(self, shape: Shape) -> bool:
        """Whether any of the shape's figures is outside of what was measured."""
        low, high = self.seen
        return any(not least <= value <= most for least, value, most in zip(low, shape, high, strict=True))

    @property
    def sentence(self) -> str:
        """What to think of it."""
        how = f"fitted to {self.jobs} jobs, off by {self.rms:.0%} (rms) and {self.worst:.0%} at worst"
        parts = [how + (f", {self.left_out:.0%} for a job left out" if isfinite(self.left_out) else "")]
        if not isfinite(self.left_out):
            parts.append("too few jobs to test it on one that it does not know")
        if self.undetermined:
            parts.append(f"these jobs cannot tell {', '.join(self.undetermined)} from the other terms")
        return "; ".join(parts)


def observations(rows: Iterable[JobRow], shape_of: Callable[[JobRow], Shape | None]) -> list[Observation]:
    """The jobs in the ledger that ended well and have a shape, such as one read from their partition key.

    Example:
        def shape(job) -> Shape | None:  # of a partition key as in 2x4x100000
            return Shape(*map(int, job.partition_key.split("x"))) if job.partition_key else None

        jobs = observations(hpc.jobs(asset_key="n2_cost"), shape)
    """
    found = []
    for row in rows:
        shape = shape_of(row) if row.state.is_success else None
        if shape is not None and (row.metrics.elapsed_s or row.metrics.max_rss_mib):
            found.append(Observation(shape, row.metrics.elapsed_s, row.metrics.max_rss_mib))
    return found


def fit_cost(
    jobs: Sequence[Observation], quantity: Quantity = "elapsed_s", terms: Mapping[str, Term] | None = None
) -> CostModel:
    """Least squares of relative residuals, coefficients not negative.

    Example:
        shapes = [Shape(nodes, 4, size) for nodes in (1, 2) for size in (10_000, 100_000)]
        model = fit_cost([Observation(shape, 2.0 + 1e-4 * shape.dimension / shape.nodes) for shape in shapes])
        print(model.sentence)
    """
    terms = _TERMS[quantity] if terms is None else terms
    known = [job for job in jobs if (getattr(job, quantity) or 0) > 0]
    if len(known) < 2:
        raise ConfigurationError(
            f"{len(known)} of {len(jobs)} jobs know their {quantity}; a model needs two at least",
            advice="run more partitions of the sweep; memory on Slurm needs accounting and jobs of some seconds.",
        )
    measured = np.array([getattr(job, quantity) for job in known], np.float64)
    columns = {name: np.array([term(job.shape) for job in known]) / measured for name, term in terms.items()}
    chosen = _independent(columns)
    matrix = np.column_stack([columns[name] for name in chosen])
    values = _non_negative(matrix)
    residuals = matrix @ values - 1.0
    predicted = (residuals + 1.0) * measured
    spread = float(np.sum((measured - measured.mean()) ** 2))
    shapes = np.array([job.shape for job in known])
    return CostModel(
        quantity=quantity,
        coefficients=dict(zip(chosen, _with_errors(matrix, values, residuals), strict=True)),
        undetermined=tuple(name for name in terms if name not in chosen),
        jobs=len(known),
        rms=sqrt(float(np.mean(residuals**2))),
        worst=float(np.max(np.abs(residuals))),
        left_out=_left_out(matrix),
        r_squared=1 - float(np.sum((predicted - measured) ** 2)) / spread if spread else 1.0,
        residuals=tuple(zip(known, residuals.tolist(), strict=True)),
        seen=(Shape(*shapes.min(axis=0).tolist()), Shape(*shapes.max(axis=0).tolist())),
        terms=terms,
    )


def _independent(columns: Mapping[str, NDArray[np.float64]]) -> list[str]:
    """The terms in their order, without those that are sums of earlier ones."""
    chosen: list[str] = []
    basis: list[NDArray[np.float64]] = []
    for name, column in columns.items():
        length = float(np.linalg.norm(column))
        rest = column / length if length else column
        for _ in range(2):  # the second time removes what rounding left
            for one in basis:
                rest = rest - one * (one @ rest)
        if (size := float(np.linalg.norm(rest))) > _SAME:
            basis.append(rest / size)
            chosen.append(name)
    return chosen


def _non_negative(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.optimize import nnls

    scale = np.linalg.norm(matrix, axis=0)  # seconds per determinant are tiny beside seconds per start
    solution, _ = nnls(matrix / scale, np.ones(len(matrix)))
    return np.asarray(solution / scale)


def _with_errors(
    matrix: NDArray[np.float64], values: NDArray[np.float64], residuals: NDArray[np.float64]
) -> list[Coefficient]:
    """Standard deviations of those that are not held at zero."""
    free = values > 0
    degrees = len(matrix) - int(free.sum())
    errors: list[float | None] = [None] * len(values)
    if degrees > 0 and free.any():
        scale = np.linalg.norm(matrix[:, free], axis=0)
        inverse = np.linalg.pinv((matrix[:, free] / scale).T @ (matrix[:, free] / scale))
        deviations = np.sqrt(np.diagonal(inverse) * float(residuals @ residuals) / degrees) / scale
        for place, deviation in zip(np.flatnonzero(free).tolist(), deviations.tolist(), strict=True):
            errors[place] = deviation
    return [Coefficient(value, error) for value, error in zip(values.tolist(), errors, strict=True)]


def _left_out(matrix: NDArray[np.float64]) -> float:
    count, terms = matrix.shape
    if count <= terms + 1:
        return inf
    wrong = []
    for place in range(count):
        others = np.delete(matrix, place, axis=0)
        if np.linalg.matrix_rank(others / np.linalg.norm(matrix, axis=0)) < terms:
            return inf  # this job alone determines a term
        wrong.append(float(matrix[place] @ _non_negative(others)) - 1.0)
    return sqrt(float(np.mean(np.square(wrong))))


@dataclass(frozen=True)
class Option:
    """A layout and what the models say of it."""

    shape: Shape
    elapsed_s: float
    node_hours: float
    max_rss_mib: float | None
    extrapolated: bool
    fault: str = ""  # why it is no choice


@dataclass(frozen=True)
class Recommendation:
    """The cheapest layout that fits; `choice` is None where none does. All that was weighed is in `options`.

    Example:
        shapes = [Shape(nodes, 4, size) for nodes in (1, 2) for size in (10_000, 100_000)]
        model = fit_cost([Observation(shape, 2.0 + 1e-4 * shape.dimension / shape.nodes) for shape in shapes])
        advice = recommend(300_000, [(1, 4), (2, 4)], model, within_s=60)
        assert isinstance(advice, Recommendation) and advice.choice is not None
        print(advice.choice.shape, advice.sentence)
    """

    choice: Option | None
    options: tuple[Option, ...]
    sentence: str


def recommend(
    dimension: int,
    layouts: Iterable[tuple[int, int]],
    time: CostModel,
    memory: CostModel | None = None,
    *,
    within_s: float | None = None,
    memory_per_node_mib: float | None = None,
) -> Recommendation:
    """Of these (nodes, ranks per node) the one with the fewest node-hours that is in time and fits into memory.

    Layouts whose costs differ by less than the model's error count as equally cheap: the fastest of them is chosen.

    Example:
        shapes = [Shape(nodes, 4, size) for nodes in (1, 2) for size in (10_000, 100_000)]
        model = fit_cost([Observation(shape, 2.0 + 1e-4 * shape.dimension / shape.nodes) for shape in shapes])
        print(recommend(300_000, [(1, 4), (2, 4)], model, within_s=60).sentence)
    """
    if memory_per_node_mib is not None and memory is None:
        raise ConfigurationError("a limit of memory needs a model of memory: fit_cost(jobs, 'max_rss_mib')")
    options = []
    for nodes, ranks in layouts:
        shape = Shape(nodes, ranks, dimension)
        seconds = time.predict(shape)
        per_rank = memory.predict(shape) if memory else None
        fault = ""
        if within_s is not None and seconds * (1 + time.error()) > within_s:
            fault = f"{seconds:.3g} s may be more than {within_s:g} s, with the model's error"
        elif per_rank is not None and memory is not None and memory_per_node_mib is not None:
            needed = per_rank * ranks * (1 + memory.error())
            if needed > memory_per_node_mib:
                fault = f"{needed:.0f} MiB per node are more than {memory_per_node_mib:g}, with the model's error"
        options.append(Option(shape, seconds, nodes * seconds / 3600, per_rank, time.extrapolates(shape), fault))
    possible = [option for option in options if not option.fault]
    if not possible:
        why = "; ".join(f"{option.shape.nodes}x{option.shape.ranks}: {option.fault}" for option in options)
        return Recommendation(None, tuple(options), f"no layout fits: {why or 'none was offered'}")
    least = min(option.node_hours for option in possible)
    choice = min(
        (option for option in possible if option.node_hours <= least * (1 + time.error())),
        key=lambda option: (option.elapsed_s, option.node_hours),
    )
    shape = choice.shape
    sentence = (
        f"{shape.nodes} node(s) with {shape.ranks} rank(s) each: {choice.elapsed_s:.3g} s and {choice.node_hours:.3g} "
        f"node-hours for {dimension} determinants ({time.sentence})"
    )
    if choice.extrapolated:
        low, high = time.seen
        sentence += (
            f". This is outside of what was measured (nodes {low.nodes} to {high.nodes}, ranks {low.ranks} to {high.ranks}, "
            f"determinants {low.dimension} to {high.dimension}): measure there before you rely on it"
        )
    return Recommendation(choice, tuple(options), sentence)
