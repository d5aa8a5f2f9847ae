"""How much noise does the answer stand? One partition for each strength of noise; a backfill of all is one array job."""

import json
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_hpc import Command, JobResult, hpc_asset
from dagster_hpc.dagster_values import BLUE, GREY, picture
from definitions.bitcount import OWNERS, SamplesConfig, draw_samples

GROUP = "noise"
FLIPS = ("0.00", "0.02", "0.05", "0.10", "0.15", "0.20", "0.30", "0.40")


def share_of_reference(result: JobResult) -> float:
    """Which part of the samples is what would be measured without noise."""
    counts: dict[str, int] = json.loads(Path(result.outputs["counts"]).read_text())
    return counts.get(SamplesConfig().reference, 0) / sum(counts.values())


@hpc_asset(
    profile="small",
    outputs={"counts": "counts.json"},
    collect=share_of_reference,
    partitions_def=dg.StaticPartitionsDefinition(list(FLIPS)),
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=GROUP,
    kinds={"python"},
    owners=OWNERS,
)
def noise_sweep(context: dg.AssetExecutionContext) -> Command:
    """The share of undisturbed bitstrings at one strength of noise. Materialize all partitions: they are one array job."""
    lines = draw_samples(SamplesConfig(flip_probability=float(context.partition_key)))
    samples = "".join(f"{line}\n" for line in lines)
    return Command("bitcount", args=["samples.txt", "counts.json"], inputs={"samples.txt": samples})


@dg.asset(group_name=GROUP, kinds={"python", "matplotlib"}, owners=OWNERS)
def noise_curve(noise_sweep: dict[str, float]) -> dg.MaterializeResult[None]:
    """What the sweep measured, over what is to be expected of independent flips."""
    bits = len(SamplesConfig().reference)
    measured = sorted((float(flip), share) for flip, share in noise_sweep.items())

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot([flip for flip, _ in measured], [(1 - flip) ** bits for flip, _ in measured], "-", color=GREY)
        axes.plot([flip for flip, _ in measured], [share for _, share in measured], "o", color=BLUE)
        axes.set_xlabel("chance of each bit to be read wrongly")
        axes.set_ylabel("share of the reference")

    worst = max(abs(share - (1 - flip) ** bits) for flip, share in measured)
    shown = picture(draw, "Share of the reference over noise", size=(6, 3.5))
    return dg.MaterializeResult(metadata={"picture": shown, "points": len(measured), "largest_deviation": worst})
