"""The embedded batch system for the tests of this folder, and runs that cover several partitions."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.resources.conftest import hpc

__all__ = ["hpc", "instance"]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made
