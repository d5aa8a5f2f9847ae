"""The runner of tests/resources serves here too."""

from tests.resources.conftest import hpc

__all__ = ["hpc"]
