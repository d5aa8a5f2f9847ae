"""What `from dagster_hpc import HPCJobRunner, hpc_asset` costs, against `import dagster` in the same run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.table import Row, show

ROUNDS = 9


def seconds(statement: str) -> float:
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.monotonic() - begun


def main() -> None:
    statements = {
        "from dagster_hpc import HPCJobRunner, hpc_asset": 1.1,
        "import dagster_hpc.engine.runner": None,
    }
    seconds("import dagster")  # warm up
    rows = []
    for statement, bound in statements.items():
        pairs = [(seconds(statement), seconds("import dagster")) for _ in range(ROUNDS)]
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        rows.append(Row(statement, f"{ours:.2f} s", f"import dagster: {theirs:.2f} s", ratio, bound))
    show(f"Imports, median of {ROUNDS} pairs", rows)


if __name__ == "__main__":
    main()
