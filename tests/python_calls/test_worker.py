"""The file that runs a function on a node: what it asks of the Python there."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from dagster_hpc.python_calls import worker

FILE = Path(worker.__file__)
SLOW = {"json", "re", "typing", "enum", "inspect", "hashlib", "logging", "contextlib", "importlib", "dagster_hpc", "dagster"}
READS_IT = """
import sys
before = set(sys.modules)
with open(sys.argv[1]) as file:
    exec(file.read(), {"__name__": "worker"})
print(*(set(sys.modules) - before))
"""


def test_python_3_6_can_read_it() -> None:
    ast.parse(FILE.read_text(), feature_version=(3, 6))


def test_no_call_waits_for_what_few_of_them_need() -> None:
    """What it imports at its head, each of thousands of short calls would import."""
    reads_it = [sys.executable, "-I", "-S", "-c", READS_IT, str(FILE)]
    loaded = subprocess.run(reads_it, capture_output=True, text=True, check=True).stdout.split()

    assert "_pickle" in loaded
    assert not SLOW & set(loaded)
