"""Bitstrings → how often each occurs, counted on the cluster → a picture of that."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
from pydantic import Field

from dagster_hpc import Command, JobResult, hpc_asset
from dagster_hpc.dagster_values import BLUE, picture

GROUP, OWNERS = "bitcount", ["team:hpc-demo"]
BARS = 16


class SamplesConfig(dg.Config):
    """Where the bitstrings come from: a file if one is given, else they are drawn."""

    input_file: str | None = Field(default=None, description="File of bitstrings, one a line, to read instead.")
    reference: str = Field(default="110100", pattern="^[01]+$", description="What is measured without noise.")
    flip_probability: float = Field(default=0.08, ge=0, le=1, description="Chance of each bit to be read wrongly.")
    shots: int = Field(default=4000, gt=0, description="How many bitstrings to draw.")
    seed: int = Field(default=7, ge=0, description="The same seed draws the same bitstrings.")


@dg.asset(group_name=GROUP, kinds={"python", "numpy"}, owners=OWNERS)
def samples(config: SamplesConfig) -> dg.MaterializeResult[str]:
    """Bitstrings as a noisy quantum computer measures them: a reference in which each bit flips now and then."""
    lines = read_samples(Path(config.input_file)) if config.input_file else draw_samples(config)
    return dg.MaterializeResult(
        value="".join(f"{line}\n" for line in lines),
        metadata={
            "source": config.input_file or f"drawn with seed {config.seed}",
            "shots": len(lines),
            "bits": len(lines[0]),
            "first": ", ".join(lines[:5]),
        },
    )


def draw_samples(config: SamplesConfig) -> list[str]:
    """Bitstrings from the distribution that the config describes."""
    bits = np.frombuffer(config.reference.encode(), dtype=np.uint8) - ord("0")
    flips = np.random.default_rng(config.seed).random((config.shots, bits.size)) < config.flip_probability
    return ["".join(map(str, row)) for row in bits ^ flips]


def read_samples(path: Path) -> list[str]:
    """The bitstrings in a file; `dg.Failure` names the first line that is none."""
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise dg.Failure(f"the samples {path} cannot be read: {error}", allow_retries=False) from error
    for number, line in enumerate(lines, 1):
        if set(line) - set("01") or len(line) != len(lines[0]):
            raise dg.Failure(
                f"{path}: bitstring {number} is {line[:80]!r}; wanted are words of 0 and 1, all of the same length",
                allow_retries=False,
            )
    if not lines:
        raise dg.Failure(f"{path} holds no bitstring", allow_retries=False)
    return lines


def read_counts(result: JobResult) -> dict[str, int]:
    """What the job left in its output file."""
    counts: dict[str, int] = json.loads(Path(result.outputs["counts"]).read_text())
    return counts


@hpc_asset(
    profile="small",
    outputs={"counts": "counts.json"},
    collect=read_counts,
    group_name=GROUP,
    kinds={"python"},
    owners=OWNERS,
)
def bit_counts(samples: str) -> Command:
    """How often each bitstring occurs: a batch job counts, its cost is in the metadata."""
    return Command("bitcount", args=["samples.txt", "counts.json"], inputs={"samples.txt": samples})


@dg.asset(group_name=GROUP, kinds={"python", "matplotlib"}, owners=OWNERS)
def histogram(bit_counts: dict[str, int]) -> dg.MaterializeResult[None]:
    """The most frequent bitstrings as a picture: under Metadata, click [Show Markdown]."""
    ranked = sorted(bit_counts.items(), key=lambda item: (-item[1], item[0]))
    return dg.MaterializeResult(
        metadata={
            "picture": draw_histogram(dict(ranked[:BARS])),
            "most_frequent": ranked[0][0],
            "share_of_most_frequent": ranked[0][1] / sum(bit_counts.values()),
            "different_bitstrings": len(ranked),
            "shots": sum(bit_counts.values()),
        }
    )


def draw_histogram(counts: Mapping[str, int]) -> dg.MetadataValue:
    """A bar for each bitstring."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.bar(list(counts), list(counts.values()), color=BLUE)
        axes.set_ylabel("samples")
        axes.set_title(f"The {len(counts)} most frequent bitstrings", loc="left")
        axes.tick_params(axis="x", rotation=60)

    return picture(draw, "How often each bitstring occurs", size=(7, 3.5), dpi=120)
