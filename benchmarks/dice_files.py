"""Dice's files: a million determinants read and validated against the bare bytes; a million strings against a raw write."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.table import Row, show
from dagster_hpc.dice.files import (
    DiceOptions,
    dice_input_files,
    read_dice_outputs,
    write_dice_inputs,
    write_dice_outputs,
)
from dagster_hpc.electrons.determinants import encode, encoded_chunks, require_electrons, sorted_unique, words_of

NORB, NELEC, STRINGS = 36, (6, 6), 1000
WIDE, ENCODED = 40, 1_000_000
ROUNDS = 15
BEFORE_AND_AFTER = """
import json, sys
from benchmarks.dice_files import most_memory, read
before = most_memory()
read(sys.argv[1])
print(json.dumps([before, most_memory()]))
"""


def random_strings(norb: int, electrons: int, count: int, random: np.random.Generator) -> np.ndarray:
    """Different strings with so many electrons, ascending."""
    found = np.empty(0, np.int64)
    while len(found) < count:
        orbitals = np.argsort(random.random((count, norb)), axis=1)[:, :electrons]
        found = np.unique(np.concatenate([found, (np.int64(1) << orbitals).sum(axis=1)]))
    return np.sort(random.permutation(found)[:count])


def most_memory() -> int:
    """Bytes. Not ru_maxrss: a new process inherits that from the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def read(folder: str | Path) -> None:
    read_dice_outputs(folder, norb=NORB, nelec=NELEC)


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compared(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Medians of runs in turn, after one of each that does not count."""
    pairs = [(seconds(theirs), seconds(ours)) for _ in range(ROUNDS + 1)][1:]
    return statistics.median(pair[1] for pair in pairs), statistics.median(pair[0] for pair in pairs)


def a_product(folder: Path, random: np.random.Generator) -> None:
    """A thousand by a thousand strings, all products."""
    alpha, beta = (random_strings(NORB, electrons, STRINGS, random) for electrons in NELEC)
    write_dice_inputs(folder, alpha, beta, norb=NORB, nelec=NELEC, options=DiceOptions(select_cutoff=None))
    _finish(folder, np.repeat(alpha, STRINGS), np.tile(beta, STRINGS), random)


def a_grown_set(folder: Path, random: np.random.Generator) -> None:
    """As many determinants of twenty thousand by twenty thousand strings, grown from one."""
    alpha, beta = (random_strings(NORB, electrons, 20 * STRINGS, random) for electrons in NELEC)
    write_dice_inputs(folder, alpha[:1], beta[:1], norb=NORB, nelec=NELEC)
    drawn = np.unique(random.integers(0, len(alpha) * len(beta), STRINGS**2 + STRINGS**2 // 100))
    chosen = np.append(0, random.permutation(drawn[drawn > 0])[: STRINGS**2 - 1])
    _finish(folder, alpha[chosen // len(beta)], beta[chosen % len(beta)], random)


def _finish(folder: Path, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator) -> None:
    values = random.standard_normal(len(alpha))
    write_dice_outputs(folder, -100.0, alpha, beta, values / np.linalg.norm(values), NORB, NELEC)


def reading(folder: Path, what: str) -> list[Row]:
    path = folder / "dets.bin"
    size = path.stat().st_size
    ours, bare = compared(lambda: read(folder), lambda: np.fromfile(path, np.uint8))
    told = subprocess.run(
        [sys.executable, "-c", BEFORE_AND_AFTER, str(folder)], capture_output=True, text=True, check=True
    )
    before, after = json.loads(told.stdout)
    more = after - before
    named = f"10^6 determinants, {what}"
    return [
        Row(f"read and validate {named}", f"{ours * 1e3:.0f} ms", f"np.fromfile: {bare * 1e3:.1f} ms", ours / bare, 20),
        Row(
            f"  more memory than before, {what}",
            f"{more / 1e6:.0f} MB",
            f"the file: {size / 1e6:.0f} MB",
            more / size,
            4,
        ),
    ]


def encoding(folder: Path, random: np.random.Generator) -> list[Row]:
    strings = random_strings(WIDE, 8, ENCODED, random)
    raw = encode(words_of(strings, WIDE))
    shuffled = random.permutation(strings)

    def checked(numbers: np.ndarray) -> None:
        words = words_of(numbers, WIDE, "string")
        require_electrons(words, 8, "string")
        with (folder / "ours.bin").open("wb") as file:
            for piece in encoded_chunks(sorted_unique(words)):
                file.write(piece)

    def to_bytes() -> None:
        dice_input_files(strings, strings[:1], norb=WIDE, nelec=(8, 8))

    rows = []
    for what, ours, bound in (
        ("check, encode and write 10^6 sorted strings", lambda: checked(strings), 1.3),
        ("the same, unsorted", lambda: checked(shuffled), None),
        ("all input files of 10^6 strings as bytes", to_bytes, None),
    ):
        mine, bare = compared(ours, lambda: (folder / "raw.bin").write_bytes(raw))
        rows.append(Row(what, f"{mine * 1e3:.1f} ms", f"raw write: {bare * 1e3:.1f} ms", mine / bare, bound))
    assert sorted((folder / "ours.bin").read_bytes()) == sorted(raw)
    return rows


def main() -> None:
    random = np.random.default_rng(1)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-dice-") as name:
        for what, make in (("product", a_product), ("grown set", a_grown_set)):
            folder = Path(name) / what.replace(" ", "-")
            make(folder, random)
            rows += reading(folder, what)
        rows += encoding(Path(name), random)
    show(f"Dice's files, norb {NORB}, median of {ROUNDS} pairs", rows)


if __name__ == "__main__":
    main()
