"""Which ends of a solver are worth a look at its files, or another try."""

import signal

import pytest

from dagster_hpc.subspace.exit_codes import may_have_answered


@pytest.mark.parametrize("code", [0, 1])
def test_dices_own_codes_prove_nothing(code: int) -> None:
    assert may_have_answered(code)


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGBUS, signal.SIGSEGV])
def test_a_crash_by_open_mpi_by_srun_by_a_shell_and_by_hydra(number: signal.Signals) -> None:
    assert may_have_answered(128 + number)
    assert may_have_answered(int(number))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_was_ended_from_outside_would_end_so_again(number: signal.Signals) -> None:
    assert not may_have_answered(128 + number)
    assert not may_have_answered(int(number))


@pytest.mark.parametrize("code", [None, 2, 126, 127, 255])
def test_what_never_started_has_no_answer(code: int | None) -> None:
    assert not may_have_answered(code)
