"""A closed loop → Dagster metadata: the best circuit, every generation, every trial, what the jobs cost."""

from __future__ import annotations

from typing import Any

import dagster as dg
import numpy as np

from dagster_hpc.dagster_values import BLUE, GREY, number, numbers, picture, table, whole_numbers
from dagster_hpc.sqd.closed_loop.values import ClosedLoopResult
from dagster_hpc.sqd.values import MILLI

_GENERATIONS = {
    "generation": "int", "energy": "float", "change_mha": "float", "mean_energy": "float", "best_trial": "float",
    "accepted": "int", "failed": "int", "carried_over": "string", "jobs": "int", "seconds": "float",
}  # fmt: skip
_TRIALS = {
    "generation": "int", "trial": "int", "energy": "float", "accepted": "bool", "distinct": "int",
    "right_electrons": "float", "alpha_strings": "int", "beta_strings": "int", "spin_square": "float",
    "iterations": "int", "jobs": "int", "node_hours": "float", "problem": "string",
}  # fmt: skip


def closed_loop_metadata(result: ClosedLoopResult) -> dict[str, dg.MetadataValue]:
    """What was found, how the loop came there, and what its jobs cost.

    Example:
        result = optimize_circuit(molecule, seed=24, generations=2, population=4, shots=50, samples_per_batch=10)
        told = closed_loop_metadata(result)
        print(told["energy"].value, told["trials_failed"].value)
    """
    hours = result.node_hours
    gained = -result.correlation_energy * MILLI
    return {
        "energy": number(result.total_energy),
        "energy_without_core": number(result.energy),
        "core_energy": number(result.core_energy),
        "hf_energy": number(result.reference_energy),
        "correlation_energy": number(result.correlation_energy),
        "first_energy": number(result.generations[0].energy + result.core_energy),
        "norb": dg.MetadataValue.int(result.norb),
        "nelec": whole_numbers(result.nelec),
        "parameters": numbers(result.parameters, digits=12),
        "occupancies_alpha": numbers(result.occupancies[0]),
        "occupancies_beta": numbers(result.occupancies[1]),
        "carried_over": dg.MetadataValue.text(f"{len(result.carryover[0])} + {len(result.carryover[1])}"),
        "generations": dg.MetadataValue.int(len(result.generations)),
        "generations_resumed": dg.MetadataValue.int(result.resumed),
        "seed": dg.MetadataValue.int(result.seed),
        "trials": dg.MetadataValue.int(len(result.trials)),
        "trials_failed": dg.MetadataValue.int(sum(trial.energy is None for trial in result.trials)),
        "generation_table": table(_generations(result), _GENERATIONS),
        "trial_table": table(_trials(result), _TRIALS),
        "picture": _picture(result),
        "jobs": dg.MetadataValue.int(len(result.jobs)),
        "all_jobs_node_hours": number(hours),
        "node_hours_per_millihartree": number(None if hours is None or gained <= 0 else hours / gained),
    }


def _generations(result: ClosedLoopResult) -> list[dict[str, Any]]:
    rows, before = [], None
    for one in result.generations:
        energies = [trial.energy for trial in one.trials if trial.energy is not None]
        rows.append(
            {
                "generation": one.number,
                "energy": one.energy + result.core_energy,
                "change_mha": None if before is None else (one.energy - before) * MILLI,
                "mean_energy": one.mean_energy + result.core_energy,
                "best_trial": min(energies) + result.core_energy,
                "accepted": sum(trial.accepted for trial in one.trials),
                "failed": len(one.trials) - len(energies),
                "carried_over": f"{len(one.carryover[0])} + {len(one.carryover[1])}",
                "jobs": sum(len(trial.jobs) for trial in one.trials),
                "seconds": round(one.seconds, 2),
            }
        )
        before = one.energy
    return rows


def _trials(result: ClosedLoopResult) -> list[dict[str, Any]]:
    rows = []
    for one in result.generations:
        for trial in one.trials:
            hours = [job.get("node_hours") for job in trial.jobs]
            known = [hour for hour in hours if hour is not None]
            rows.append(
                {
                    "generation": one.number,
                    "trial": trial.number,
                    "energy": None if trial.energy is None else trial.energy + result.core_energy,
                    "accepted": trial.accepted,
                    "distinct": trial.distinct,
                    "right_electrons": trial.right_electrons,
                    "alpha_strings": trial.subspace[0],
                    "beta_strings": trial.subspace[1],
                    "spin_square": trial.spin_square,
                    "iterations": len(trial.energies),
                    "jobs": len(trial.jobs),
                    "node_hours": sum(known) if known and len(known) == len(hours) else None,
                    "problem": trial.problem,
                }
            )
    return rows


def _picture(result: ClosedLoopResult) -> dg.MetadataValue:
    def draw(figure: Any) -> None:
        axes, core = figure.subplots(), result.core_energy
        where = [one.number for one in result.generations]
        for one in result.generations:
            energies = np.array([trial.energy for trial in one.trials if trial.energy is not None])
            axes.plot([one.number] * len(energies), energies + core, ".", color="#9db2e0")
        axes.plot(where, [one.mean_energy + core for one in result.generations], "o--", color=GREY, label="population")
        axes.plot(where, [one.energy + core for one in result.generations], "o-", color=BLUE, label="best")
        axes.set_xlabel("generation")
        axes.set_ylabel("energy in Hartree")
        axes.ticklabel_format(useOffset=False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)

    return picture(draw, "Energies of all trials; the best, and the mean of the population")
