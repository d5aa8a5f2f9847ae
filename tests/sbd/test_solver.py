"""SBD as jobs. The SBD of these tests is `stand_in.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagster_hpc import ConfigurationError, ExecutionProfile, HPCJobRunner
from dagster_hpc.sbd import SBDFailed, SBDResultInvalid, SBDSolver
from dagster_hpc.sbd.solver import suggested
from dagster_hpc.subspace import StatelessResult
from tests.dice.golden import case
from tests.dice.test_solver import local_runner, problem
from tests.sbd import stand_in

hpc = pytest.fixture(local_runner, name="hpc")


def sbd(hpc: HPCJobRunner, tmp_path: Path, before: str = "", after: str = "", **options: Any) -> SBDSolver:
    """With an SBD that is the stand-in, between these shell lines."""
    program = tmp_path / "diag"
    program.write_text(f'#!/bin/bash\n{before}\n{sys.executable} {stand_in.__file__} "$@" || exit\n{after}\n')
    program.chmod(0o755)
    return SBDSolver(hpc=hpc, profile="dice-mpi", executable=str(program), **options)


def test_an_answer_without_a_state(hpc: HPCJobRunner, tmp_path: Path) -> None:
    (run,) = sbd(hpc, tmp_path).runs([problem("lih_sto3g")[0]], *problem("lih_sto3g")[1:], core_energy=1.5)

    result: StatelessResult = run.result
    assert run.solver == "sbd"
    assert result.energy == pytest.approx(case("lih_sto3g").meta["energy"] + 1.5, abs=1e-8)
    assert (result.spin_square, result.dimension) == (None, 225)
    assert [part.sum() for part in result.orbital_occupancies] == [pytest.approx(2), pytest.approx(2)]
    assert {check.name: check.passed for check in result.checks} == dict.fromkeys(
        (
            "files", "finite", "davidson", "printed_energy", "first_determinant", "electrons", "carryover",
            "variational_bound",
        ),
        True,
    )  # fmt: skip
    found = result.sci_result()
    assert found.sci_state is None
    assert int(found.carryover[0][0]) == 3  # the Hartree-Fock string weighs most


def test_occupancies_and_strings_are_those_of_the_state(hpc: HPCJobRunner, tmp_path: Path) -> None:
    from dagster_hpc.dice import EmbeddedSolver

    asked = problem("h2o_sto3g")
    exact = EmbeddedSolver(hpc=hpc).solve(*asked)
    result = sbd(hpc, tmp_path, carryover_threshold=1e-3).solve(*asked)
    assert np.allclose(result.orbital_occupancies, exact.orbital_occupancies, atol=1e-6)
    kept = result.sci_result().carryover[0]
    weight = dict(zip(exact.strings_a.tolist(), exact.state.weights()[0].tolist(), strict=True))
    assert sum(weight[int(string)] for string in kept) > 1 - 1e-3
    assert len(kept) < 21


def test_a_batch_is_one_array(hpc: HPCJobRunner, tmp_path: Path) -> None:
    (alpha, beta), *rest = problem("lih_sto3g")
    runs = sbd(hpc, tmp_path).runs([(alpha, beta), (alpha[:4], beta[:4]), (alpha[3:6], alpha[3:6])], *rest)
    assert [run.result.dimension for run in runs] == [225, 16, 16]  # the last has got the Hartree-Fock string
    assert len({hpc.target.scheduler.array_id(run.jobs[0].handle.job_id or "") for run in runs}) == 1


def test_the_ranks_are_the_product_of_the_sizes(hpc: HPCJobRunner, tmp_path: Path) -> None:
    solver = sbd(hpc, tmp_path, adet_comm_size=2, bdet_comm_size=2)
    overrides = {"num_nodes": 2, "mpiprocs": 4, "launcher": "mpirun"}
    with pytest.raises(ConfigurationError, match=r"the profile has 8 ranks; .* 1 x 2 x 2 = 4: set task_comm_size=2"):
        solver.solve(*problem("lih_sto3g"), overrides=overrides)
    assert hpc.jobs() == []
    assert suggested(12, (1, 5, 1)) == "task_comm_size=1, adet_comm_size=3, bdet_comm_size=4"


def test_open_shells_are_refused(hpc: HPCJobRunner, tmp_path: Path) -> None:
    _, one_body, two_body, norb, _ = problem("lih_sto3g")
    with pytest.raises(ConfigurationError, match="3 alpha and 1 beta electrons"):
        sbd(hpc, tmp_path).solve(([7], [1]), one_body, two_body, norb, (3, 1))


def test_profiles_of_gpus_start_another_program(hpc: HPCJobRunner, tmp_path: Path) -> None:
    hpc.profiles["gpu"] = ExecutionProfile(resource_class="gpu", gpus_per_node=1)
    with pytest.raises(ConfigurationError, match="has no gpu_executable"):
        sbd(hpc, tmp_path).solve(*problem("lih_sto3g"), profile="gpu")
    solver = sbd(hpc, tmp_path, before="exit 1", fallback=False)
    for_gpus = Path(sbd(hpc, tmp_path).executable).rename(tmp_path / "diag-gpu")
    on_gpus = solver.model_copy(update={"gpu_executable": str(for_gpus), "executable": "/apps/no/diag"})
    assert on_gpus.solve(*problem("lih_sto3g"), profile="gpu").dimension == 225


def test_an_unfinished_davidson_is_not_believed(hpc: HPCJobRunner, tmp_path: Path) -> None:
    """And another solver does it: SBD itself would end there again."""
    unfinished = "export SBD_RESIDUAL=0.02"
    with pytest.raises(SBDResultInvalid, match=r"residual of 2\.0e-02") as caught:
        sbd(hpc, tmp_path, unfinished, fallback=False).solve(*problem("lih_sto3g"))
    assert "max_restarts" in caught.value.advice
    with pytest.warns(UserWarning, match="the embedded solver takes over"):
        (run,) = sbd(hpc, tmp_path, unfinished).runs([problem("lih_sto3g")[0]], *problem("lih_sto3g")[1:])
    assert (run.solver, len(run.jobs)) == ("embedded", 2)


@pytest.mark.parametrize(
    ("after", "names"),
    [
        ("echo 110000 >>carryover.txt; sed -i s/^000011/000111/ carryover.txt", ("carryover",)),
        ("echo ' Sample-based diagonalization: density = [1,1,1'", ("electrons",)),
        ("echo ' Sample-based diagonalization: density = [2,2,1,0,0,0'", ("electrons",)),
        ("echo ' Sample-based diagonalization: Energy = -8.1'", ("printed_energy", "variational_bound")),
        ("echo ' Sample-based diagonalization: Energy = nan'", ("finite", "printed_energy", "variational_bound")),
    ],
)
def test_wrong_answers_are_not_believed(
    hpc: HPCJobRunner, tmp_path: Path, after: str, names: tuple[str, ...]
) -> None:
    with pytest.raises(SBDResultInvalid) as caught:
        sbd(hpc, tmp_path, after=after, fallback=False, max_retries=0).solve(*problem("lih_sto3g"))
    assert caught.value.names == names


def test_an_sbd_that_rounds_the_integrals_is_named(hpc: HPCJobRunner, tmp_path: Path) -> None:
    """Its state is converged, its energy off by up to 1e-4 Hartree; older ones and forks do this."""
    rounding = "export SBD_DIGITS=6"
    with pytest.raises(SBDResultInvalid, match="energy of the first determinant") as caught:
        sbd(hpc, tmp_path, rounding).solve(*problem("h2o_sto3g"))
    assert caught.value.names == ("first_determinant",)
    assert "1.3.0" in caught.value.advice
    assert len(hpc.jobs()) == 1
    result = sbd(hpc, tmp_path, rounding, integrals_tol=1e-3).solve(*problem("h2o_sto3g"))
    assert 1e-6 < abs(result.energy - case("h2o_sto3g").meta["energy"]) < 1e-3


def test_sbds_words_are_told_and_not_repeated(hpc: HPCJobRunner, tmp_path: Path) -> None:
    with pytest.raises(SBDFailed, match="MPI Size of twister"):
        sbd(hpc, tmp_path, "export SBD_RANKS=4").solve(*problem("lih_sto3g"))
    assert len(hpc.jobs()) == 1


def test_a_subspace_with_too_few_strings_for_its_parts_is_solved_by_another(hpc: HPCJobRunner, tmp_path: Path) -> None:
    (alpha, beta), *rest = problem("lih_sto3g")
    hpc.profiles["dice-mpi"] = ExecutionProfile(launcher="mpirun", mpiprocs=4)
    (run,) = sbd(hpc, tmp_path, adet_comm_size=4).runs([(alpha[:3], beta[:3])], *rest)
    assert (run.solver, run.result.dimension) == ("embedded", 9)


def test_the_loop_of_qiskit_takes_it(hpc: HPCJobRunner, tmp_path: Path) -> None:
    from tests.dice.test_solver_sqd import sqd

    result = sqd(sci_solver=sbd(hpc, tmp_path, carryover_threshold=1e-6).as_sci_solver(), symmetrize_spin=True)
    own = sqd(symmetrize_spin=True)
    assert result.sci_state is None
    assert result.energy < own.energy + 1e-3
