from __future__ import annotations

pytest_plugins = ["dagster_hpc.testing.fixtures"]
