"""Hamiltonian, samples and SQD result → Dagster metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import dagster as dg
import numpy as np

from dagster_hpc.dagster_values import BLUE, GREY, number, numbers, picture, table, whole_numbers
from dagster_hpc.sqd.counts import counts_of
from dagster_hpc.sqd.values import MILLI, Hamiltonian, Iteration, Samples, SQDResult

_LEADING = 10
_SUMS = ("node_hours", "cpu_time_s", "elapsed_s", "energy_j")
_MOST = ("queue_wait_s", "max_rss_mib")


def sqd_metadata(result: SQDResult, *, ccsd_energy: float | None = None) -> dict[str, dg.MetadataValue]:
    """What was found, how the loop came there, and what its jobs cost.

    Example:
        result = run_sqd(molecule, samples, seed=24, samples_per_batch=20, max_iterations=2)
        told = sqd_metadata(result)
        print(told["energy"].value, told["correlation_energy"].value)
    """
    best = result.best
    strings = max(best.subspaces, key=lambda one: one[0] * one[1])
    return {
        "energy": number(result.total_energy),
        "energy_without_core": number(result.energy),
        "core_energy": number(result.core_energy),
        "hf_energy": number(result.reference_energy),
        "correlation_energy": number(result.correlation_energy),
        "ccsd_energy": number(ccsd_energy),
        "norb": dg.MetadataValue.int(result.norb),
        "nelec": whole_numbers(result.nelec),
        "determinants": dg.MetadataValue.int(result.determinants),
        "alpha_strings": dg.MetadataValue.int(strings[0]),
        "beta_strings": dg.MetadataValue.int(strings[1]),
        "spin_square": number(result.spin_square, digits=8),
        "spin_square_wanted": number(result.wanted_spin_sq),
        "occupancies_alpha": numbers(result.occupancies[0]),
        "occupancies_beta": numbers(result.occupancies[1]),
        "leading_determinants": _leading(result),
        "converged": dg.MetadataValue.bool(result.converged),
        "samples": number(result.iterations[-1].samples),
        "recovered": number(result.iterations[-1].recovered),
        "iterations": dg.MetadataValue.int(len(result.iterations)),
        "iterations_resumed": dg.MetadataValue.int(result.resumed),
        "best_iteration": dg.MetadataValue.int(best.number),
        "seed": dg.MetadataValue.int(result.seed),
        "convergence": _convergence(result),
        "picture": _picture_of_convergence(result),
        "jobs": dg.MetadataValue.int(len(result.jobs)),
        "job_table": _job_table(result),
        **{f"all_jobs_{name}": number(_over(result, name, sum)) for name in _SUMS},
        **{f"all_jobs_{name}": number(_over(result, name, max)) for name in _MOST},
        "node_hours_per_millihartree": number(result.node_hours_per_millihartree),
    }


def hamiltonian_metadata(hamiltonian: Hamiltonian) -> dict[str, Any]:
    """The molecule, its size, and the energies of Hartree-Fock and CCSD."""
    integrals = hamiltonian.integrals()
    molecule = hamiltonian.molecule
    return {
        "geometry": molecule.geometry or molecule.fcidump or "",
        "basis": molecule.basis or "",
        "norb": integrals.norb,
        "nelec": whole_numbers(integrals.nelec),
        "core_energy": integrals.core_energy,
        "hf_energy": hamiltonian.reference_energy,
        "ccsd_energy": number(hamiltonian.ccsd_energy),
        "occupancies_alpha": numbers(hamiltonian.occupancies[0]),
        "occupancies_beta": numbers(hamiltonian.occupancies[1]),
        "sha256": hashlib.sha256(hamiltonian.fcidump.encode()).hexdigest(),
    }


def samples_metadata(samples: Samples) -> dict[str, Any]:
    """Where the bitstrings come from, and how good they are."""
    counts = counts_of(samples.bitstrings)
    rows = [dg.TableRecord({"bitstring": text, "shots": counts[text]}) for text in list(counts)[:_LEADING]]
    return {
        "source": dg.MetadataValue.json(dict(samples.source)),
        "shots": len(samples.bitstrings),
        "different": len(counts),
        "right_electrons": samples.right_electrons,
        "norb": samples.norb,
        "nelec": whole_numbers(samples.nelec),
        "seed": samples.seed,
        "most_frequent": dg.MetadataValue.table(rows),
    }


def _over(result: SQDResult, name: str, how: Callable[[Iterable[float]], float]) -> float | None:
    """None as soon as one job does not know: a sum of some is no sum."""
    values = [job.get(name) for job in result.jobs]
    known = [float(value) for value in values if value is not None]
    return how(known) if known and len(known) == len(values) else None


def _convergence(result: SQDResult) -> dg.MetadataValue:
    rows: list[dict[str, Any]] = []
    before: Iteration | None = None
    for one in result.iterations:
        total = one.energy + result.core_energy
        hours = [job.get("node_hours") for job in one.jobs]
        known = [hour for hour in hours if hour is not None]
        moved: float | None = (
            None if before is None else float(np.max(np.abs(np.ravel(before.occupancies) - np.ravel(one.occupancies))))
        )
        rows.append(
            {
                "iteration": one.number,
                "energy": total,
                "change_mha": None if before is None else (one.energy - before.energy) * MILLI,
                "batches": json.dumps([round(energy + result.core_energy, 8) for energy in one.energies]),
                "occupancy_change": moved,
                "samples": one.samples,
                "recovered": one.recovered,
                "made_by_recovery": one.made,
                "largest_subspace": one.largest_subspace,
                "new_strings": f"{len(one.new_strings[0])} + {len(one.new_strings[1])}",
                "carried_over": f"{len(one.carryover[0])} + {len(one.carryover[1])}",
                "spin_square": one.spin_square,
                "rounds": one.rounds,
                "jobs": len(one.jobs),
                "in_process": one.in_process,
                "node_hours": sum(known) if known and len(known) == len(hours) else None,
                "seconds": round(one.seconds, 2),
            }
        )
        before = one
    kinds = {
        "iteration": "int", "energy": "float", "change_mha": "float", "batches": "string", "occupancy_change": "float",
        "samples": "int", "recovered": "float", "made_by_recovery": "int", "largest_subspace": "int",
        "new_strings": "string", "carried_over": "string", "spin_square": "float", "rounds": "int", "jobs": "int",
        "in_process": "int", "node_hours": "float", "seconds": "float",
    }  # fmt: skip
    return table(rows, kinds)


def _job_table(result: SQDResult) -> dg.MetadataValue:
    kinds = {
        "iteration": "int", "job_id": "string", "state": "string", "queue_wait_s": "float", "elapsed_s": "float",
        "cpu_time_s": "float", "cpu_efficiency": "float", "max_rss_mib": "float", "nodes": "int", "cores": "int",
        "node_hours": "float", "energy_j": "float",
    }  # fmt: skip
    rows = [
        {name: ({"iteration": one.number} | dict(job)).get(name) for name in kinds}
        for one in result.iterations
        for job in one.jobs
    ]
    return table(rows, kinds)


def _leading(result: SQDResult) -> dg.MetadataValue:
    kinds = {"orbitals": "string", "coefficient": "float", "weight": "float"}
    state = result.sci_state
    if state is None:
        return table([], kinds)
    flat = np.abs(state.amplitudes).ravel()
    count = min(_LEADING, flat.size)
    first = np.argpartition(-flat, count - 1)[:count]
    rows = []
    for place in first[np.argsort(-flat[first], kind="stable")].tolist():
        row, column = divmod(place, state.amplitudes.shape[1])
        alpha, beta = int(state.ci_strs_a[row]), int(state.ci_strs_b[column])
        value = float(state.amplitudes[row, column])
        text = "".join("0ab2"[(alpha >> p & 1) + 2 * (beta >> p & 1)] for p in range(result.norb))
        rows.append({"orbitals": text, "coefficient": value, "weight": value * value})
    return table(rows, kinds)


def _picture_of_convergence(result: SQDResult) -> dg.MetadataValue:
    def draw(figure: Any) -> None:
        left, middle, right = figure.subplots(1, 3)
        numbers = [one.number for one in result.iterations]
        for one in result.iterations:
            left.plot(
                [one.number] * len(one.energies), np.array(one.energies) + result.core_energy, ".", color="#9db2e0"
            )
        left.plot(numbers, [one.energy + result.core_energy for one in result.iterations], "o-", color=BLUE)
        left.set_xlabel("iteration")
        left.set_ylabel("energy in Hartree")
        left.ticklabel_format(useOffset=False)
        left.xaxis.get_major_locator().set_params(integer=True)
        met = np.cumsum([[len(part) for part in one.new_strings] for one in result.iterations], axis=0)
        middle.plot(numbers, met[:, 0], "o-", color=BLUE, label="alpha strings so far")
        middle.plot(numbers, met[:, 1], "o--", color=GREY, label="beta strings so far")
        middle.set_ylim(bottom=0)
        middle.set_xlabel("iteration")
        middle.xaxis.get_major_locator().set_params(integer=True)
        middle.legend(frameon=False)
        right.bar(np.arange(result.norb), result.occupancies[0] + result.occupancies[1], color=BLUE)
        right.set_xlabel("orbital")
        right.set_ylabel("electrons")

    return picture(draw, "Energy and growth of the subspace in each iteration; the occupancies at the end", size=(12, 3.5))
