"""Several collectors as one."""

from __future__ import annotations

from collections.abc import Mapping

from dagster_hpc.collectors.expect import Expect, Expectations
from dagster_hpc.collectors.found import Collector


def from_all(*collectors: Collector, checks: Mapping[str, Expect] | None = None, value: str | None = None) -> Collector:
    """Read with several collectors, one after the other; `checks` see the values of all of them.

    Example:
        @hpc_asset(
            profile="small",
            outputs={"result": "result.json"},
            collect=from_all(from_stdout({"steps": r"(\\d+) steps"}), from_json("result.json", {"energy": "$.energy"})),
        )
        def scf() -> Command:
            return Command("scf")
    """
    readers = [reader for collector in collectors for reader in collector.readers]
    return Collector([*readers, Expectations(dict(checks or {}))], value)
