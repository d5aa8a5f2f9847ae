from tests.faults.conftest import place, quick_local_batch

__all__ = ["place", "quick_local_batch"]
