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
