"""The dissociation curve: the energies of all geometries as one asset."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the asset.

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from dagster_hpc.dagster_values import BLUE, GREY, RED, picture, table
from dagster_hpc.sqd.spin import judge_spin
from dagster_hpc.sqd.values import SQDResult


def curve_asset(
    key: dg.AssetKey, result_key: dg.AssetKey, order: list[str], group_name: str, owners: Sequence[str] | None
) -> dg.AssetsDefinition:
    upstream = dg.AssetIn(
        result_key, partition_mapping=dg.AllPartitionMapping(), metadata={"allow_missing_partitions": True},
        dagster_type=dg.Any,
    )  # fmt: skip

    @dg.asset(key=key, ins={"results": upstream}, group_name=group_name, owners=owners, kinds={"python", "matplotlib"})
    def curve(results: Any) -> dg.MaterializeResult[None]:
        """The energies of all geometries that are materialized, beside Hartree-Fock."""
        found: Mapping[str, SQDResult] = results if isinstance(results, Mapping) else {order[0]: results}
        known = [(place, found[place]) for place in order if place in found]
        if not known:
            raise dg.Failure(f"no partition of {result_key.to_user_string()} is materialized", allow_retries=False)
        return dg.MaterializeResult(metadata=curve_metadata(known))

    return curve


def curve_metadata(known: Sequence[tuple[str, SQDResult]]) -> dict[str, Any]:
    judged = [judge_spin(one.spin_square, one.wanted_spin_sq) for _, one in known]
    others = [place for place, one in enumerate(judged) if not one.is_wanted]
    rows = [
        {
            "geometry": place,
            "energy": one.total_energy,
            "hf_energy": one.reference_energy,
            "correlation_energy": one.correlation_energy,
            "spin_square": one.spin_square,
            "spin": "" if spin.is_wanted and one.spin_square is not None else spin.sentence,
            "determinants": one.determinants,
            "converged": one.converged,
            "node_hours": one.node_hours,
        }
        for (place, one), spin in zip(known, judged, strict=True)
    ]
    kinds = {
        "geometry": "string", "energy": "float", "hf_energy": "float", "correlation_energy": "float",
        "spin_square": "float", "spin": "string", "determinants": "int", "converged": "bool", "node_hours": "float",
    }  # fmt: skip

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        names = [place for place, _ in known]
        try:
            where: list[Any] = [float(name) for name in names]
        except ValueError:
            where = names
        axes.plot(where, [one.reference_energy for _, one in known], "o--", color=GREY, label="Hartree-Fock")
        axes.plot(where, [one.total_energy for _, one in known], "o-", color=BLUE, label="SQD")
        if others:
            axes.plot(
                [where[place] for place in others], [known[place][1].total_energy for place in others],
                "D", color=RED, markersize=9, fillstyle="none", label="another spin",
            )  # fmt: skip
        axes.set_xlabel("geometry")
        axes.set_ylabel("energy in Hartree")
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.legend(frameon=False)

    lowest = min(known, key=lambda pair: pair[1].total_energy)
    return {
        "geometries": len(known),
        "lowest_energy": lowest[1].total_energy,
        "lowest_geometry": lowest[0],
        "of_another_spin": dg.MetadataValue.json([known[place][0] for place in others]),
        "energies": table(rows, kinds),
        "picture": picture(draw, "The energy of each geometry"),
    }
