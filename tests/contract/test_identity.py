"""A system says which it is, and says the same each time."""

from __future__ import annotations

import pytest

from tests.contract.site import Site


def test_a_system_has_one_name(site: Site) -> None:
    target = site.hpc.target.engine_target()
    call = target.scheduler.identify()
    if call is None:
        pytest.skip(f"{target.scheduler.kind} cannot say which it is")
    first, second = (target.scheduler.read_identity(target.host.run(call)) for _ in range(2))
    assert first == second
    assert first


def test_who_asks_a_system_without_end_is_noticed(site: Site) -> None:
    """What is looked at behind every test of this suite; version 0.1.0 asked 18 times a second."""
    site.check_load()
    site.questions = 18 * 5
    with pytest.raises(AssertionError, match=r"90 questions in \d+ intervals"):
        site.check_load()
    site.questions = 0
