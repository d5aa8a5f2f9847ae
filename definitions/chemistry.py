"""N2 pulled apart: bitstrings, the SQD loop with its diagonalizations as batch jobs, and the curve of all bond lengths.

Each bond length is a partition, the dissociation curve a backfill. On this machine the jobs are serial; on a cluster they
have MPI ranks. Only the profile differs. The environment chooses, beside what `targets` reads:

    DAGSTER_HPC_DICE        Dice, as an absolute path on the compute nodes; default: the embedded solver, which needs PySCF
"""

from collections.abc import Mapping
from typing import Any, Literal

import dagster as dg

from dagster_hpc import ExecutionProfile, HPCJobRunner
from dagster_hpc.dice import DiceSolver
from dagster_hpc.sqd import Molecule, build_sqd_assets
from definitions.targets import work_root

GROUP, OWNERS = "chemistry", ["team:hpc-demo"]
BONDS = ("0.9", "1.0", "1.1", "1.2", "1.4", "1.7", "2.0", "2.5")  # Angstrom


def profiles(kind: str) -> dict[str, ExecutionProfile]:
    """`serial`, and `mpi` with the launcher that the place has."""
    launcher: Literal["srun", "mpirun"] = "srun" if kind == "slurm" else "mpirun"
    return {
        "serial": ExecutionProfile(ompthreads=1, memory_per_node="1G", walltime="00:10:00"),
        "mpi": ExecutionProfile(mpiprocs=4, ompthreads=1, memory_per_node="2G", walltime="00:30:00", launcher=launcher),
    }


def n2(bond: str) -> Molecule:
    """Ten valence electrons in eight orbitals: small enough for a laptop, and not described by one determinant."""
    return Molecule(geometry=f"N 0 0 0; N 0 0 {bond}", basis="6-31g", symmetry=True, active_space=(10, 8))


n2_assets = build_sqd_assets(
    {bond: n2(bond) for bond in BONDS},
    name="n2",
    source={"kind": "uniform", "right_particle_number": True},
    shots=2000,
    seed=24,
    samples_per_batch=40,
    num_batches=2,
    max_iterations=10,
    symmetrize_spin=True,
    in_process_below=0,  # jobs are what is to be seen here; subspaces of this size need none
    group_name=GROUP,
    owners=OWNERS,
)


def resources(environ: Mapping[str, str], target: Any) -> dict[str, Any]:
    """The solver on the target that the rest of the demo uses."""
    kind = environ.get("DAGSTER_HPC_TARGET") or "local"
    hpc = HPCJobRunner(target=target, profiles=profiles(kind), work_root=str(work_root(environ)))
    return {
        "dice": DiceSolver(
            hpc=hpc,
            profile="serial" if kind == "local" else "mpi",
            executable=environ.get("DAGSTER_HPC_DICE") or None,
        )
    }


def chemistry(environ: Mapping[str, str], target: Any) -> dg.Definitions:
    """The group `chemistry`; `target` is the demo's."""
    from definitions.sweep import sweep_assets

    kind = environ.get("DAGSTER_HPC_TARGET") or "local"
    return dg.Definitions(assets=[*n2_assets, *sweep_assets(kind)], resources=resources(environ, target))
