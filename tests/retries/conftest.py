"""A runner on this machine, as the tests of the resources have it."""

from tests.resources.conftest import hpc

__all__ = ["hpc"]
