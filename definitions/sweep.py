"""Which nodes and ranks for how many determinants? A sweep of real jobs, a cost model of them, a recommendation.

Nodes and ranks are one dimension of the partitions ("2x4": two nodes, four ranks on each), because Dagster has two; the
determinants of the subspace are the other. The model reads the ledger: it is fitted to every sweep that ever ran.
"""

from itertools import combinations
from math import isqrt
from typing import Any

import dagster as dg
from pydantic import Field

from dagster_hpc import ConfigurationError, JobState
from dagster_hpc.dagster_values import BLUE, GREY, picture, table
from dagster_hpc.dice import DiceSolver
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.metadata import job_metadata
from dagster_hpc.sqd import CostModel, Molecule, fit_cost, observations, recommend
from dagster_hpc.sqd.cost import Recommendation, Shape

GROUP, OWNERS, SWEEP = "chemistry", ["team:hpc-demo"], "dice_sweep"
LAYOUTS = {"local": ("1x1", "1x2"), "cluster": ("1x1", "1x2", "1x4", "2x1", "2x2", "2x4")}
DIMENSIONS = ("400", "2500", "10000", "40000")


class WishConfig(dg.Config):
    """What is to be run, and what it may take."""

    dimension: int = Field(default=100_000, ge=1, description="Determinants of the subspace that is planned.")
    within_s: float | None = Field(default=None, gt=0, description="Longest time in seconds; null: any.")
    memory_per_node_mib: float | None = Field(default=None, gt=0, description="Memory of a node; null: enough.")


def layout_of(text: str) -> tuple[int, int]:
    """`2x4` → (2, 4): nodes, ranks on each."""
    nodes, _, ranks = text.partition("x")
    return int(nodes), int(ranks)


def shape_of(row: JobRow) -> Shape | None:
    """What a job of the sweep was, from its partition; the dimensions stand in the order of their names."""
    dimension, bar, layout = (row.partition_key or "").partition("|")
    return Shape(*layout_of(layout), int(dimension)) if bar else None


def lowest_strings(norb: int, electrons: int, count: int) -> list[int]:
    """The strings with the lowest orbitals filled, as integers. `count` of them, or all that there are."""
    every = sorted(combinations(range(norb), electrons), key=lambda orbitals: (sum(orbitals), orbitals))
    return [sum(1 << orbital for orbital in orbitals) for orbitals in every[:count]]


def sweep_assets(kind: str) -> list[dg.AssetsDefinition]:
    """The sweep and its model, for a target of this kind."""
    layouts = LAYOUTS["local" if kind == "local" else "cluster"]
    launcher = "srun" if kind == "slurm" else "mpirun"
    partitions = dg.MultiPartitionsDefinition(
        {
            "dimension": dg.StaticPartitionsDefinition(list(DIMENSIONS)),
            "layout": dg.StaticPartitionsDefinition(list(layouts)),
        }
    )

    @dg.asset(name=SWEEP, partitions_def=partitions, group_name=GROUP, owners=OWNERS, kinds={"hpc", "dice"})
    def dice_sweep(context: dg.AssetExecutionContext, dice: DiceSolver) -> dg.MaterializeResult[None]:
        """One diagonalization of N2 with so many determinants on so many nodes and ranks."""
        keys: Any = context.partition_key
        chosen = keys.keys_by_dimension
        dimension, (nodes, ranks) = int(chosen["dimension"]), layout_of(chosen["layout"])
        molecule = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g", symmetry=True, frozen_core=2)
        h, eri, _, norb, nelec = molecule.integrals()
        alpha, beta = (lowest_strings(norb, count, isqrt(dimension)) for count in nelec)
        (run,) = dice.runs(
            [(alpha, beta)], h, eri, norb, nelec,
            context=context, reuse="never",
            overrides={
                "num_nodes": nodes,
                "mpiprocs": ranks,
                "launcher": "single" if nodes * ranks == 1 else launcher,
            },
        )  # fmt: skip
        found: dict[str, float | str] = {"energy": run.result.energy, "determinants": run.result.dimension}
        metadata = {**found, "solver": run.solver}
        return dg.MaterializeResult(metadata={**metadata, **job_metadata(run.jobs[-1])})

    @dg.asset(deps=[dice_sweep], group_name=GROUP, owners=OWNERS, kinds={"python", "scipy"})
    def dice_cost_model(config: WishConfig, dice: DiceSolver) -> dg.MaterializeResult[None]:
        """Time and memory as sums of terms, fitted to the jobs in the ledger; the cheapest layout for what is planned."""
        rows = dice.hpc.jobs(asset_key=SWEEP, state=JobState.COMPLETED, limit=None)
        jobs = observations(rows, shape_of)
        try:
            time = fit_cost(jobs, "elapsed_s")
        except ConfigurationError as error:
            raise dg.Failure(f"the ledger is too short for a model: {error}", allow_retries=False) from error
        memory: CostModel | None = None
        why = ""
        try:
            memory = fit_cost(jobs, "max_rss_mib")
        except ConfigurationError as error:
            why = error.message
        try:
            chosen = recommend(
                config.dimension, [layout_of(layout) for layout in layouts], time, memory,
                within_s=config.within_s, memory_per_node_mib=config.memory_per_node_mib,
            )  # fmt: skip
        except ConfigurationError as error:
            raise dg.Failure(f"{error}\n{why}", allow_retries=False) from error
        return dg.MaterializeResult(metadata=cost_metadata(time, memory, chosen, why))

    return [dice_sweep, dice_cost_model]


def cost_metadata(time: CostModel, memory: CostModel | None, chosen: Recommendation, why: str) -> dict[str, Any]:
    """The recommendation, and everything that tells how far to trust it."""
    choice = chosen.choice
    return {
        "recommendation": chosen.sentence,
        "nodes": choice.shape.nodes if choice else dg.MetadataValue.null(),
        "ranks_per_node": choice.shape.ranks if choice else dg.MetadataValue.null(),
        "predicted_elapsed_s": choice.elapsed_s if choice else dg.MetadataValue.null(),
        "predicted_node_hours": choice.node_hours if choice else dg.MetadataValue.null(),
        "extrapolated": choice.extrapolated if choice else dg.MetadataValue.null(),
        "options": table(
            [
                {
                    "nodes": one.shape.nodes,
                    "ranks": one.shape.ranks,
                    "elapsed_s": one.elapsed_s,
                    "node_hours": one.node_hours,
                    "max_rss_mib": one.max_rss_mib,
                    "extrapolated": one.extrapolated,
                    "fault": one.fault,
                }
                for one in chosen.options
            ]
        ),
        "jobs": time.jobs,
        "time_model": time.sentence,
        "time_rms": time.rms,
        "time_worst": time.worst,
        "memory_model": memory.sentence if memory else why,
        "coefficients": table(
            [
                {"model": model.quantity, "term": name, "coefficient": one.value, "standard_error": one.error}
                for model in (time, memory)
                if model
                for name, one in model.coefficients.items()
            ]
        ),
        "residuals": table(
            [
                {
                    **job.shape._asdict(),
                    "elapsed_s": job.elapsed_s,
                    "predicted_s": time.predict(job.shape),
                    "off_by": off,
                }
                for job, off in time.residuals
            ]
        ),
        "picture": _fit(time),
    }


def _fit(model: CostModel) -> dg.MetadataValue:
    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        measured = [job.elapsed_s or 0.0 for job, _ in model.residuals]
        axes.loglog(measured, [model.predict(job.shape) for job, _ in model.residuals], "o", color=BLUE)
        ends = [min(measured), max(measured)]
        axes.loglog(ends, ends, "-", color=GREY)
        axes.set_xlabel("measured, s")
        axes.set_ylabel("fitted, s")

    return picture(draw, "Fit", size=(5, 4))
