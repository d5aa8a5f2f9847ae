"""input.dat and the files of strings by Dice's rules, and Dice's words where they are wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.dice.inputs import words_of_line
from dagster_hpc.electrons.determinants import STRING_BYTES, bits_of, decode
from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    from dagster_hpc.electrons.space import Occupations

REFUSED, ABORTED, CRASHED = 1, 134, 139  # of mpirun, when Dice says no, aborts, or dies of a segmentation fault


class Stop(Exception):
    """The run ends here, in Dice's words and with its exit code."""

    def __init__(self, message: str, code: int = REFUSED) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Schedule:
    """input.dat, as far as it is served."""

    electrons: int
    cutoffs: tuple[float, ...]  # one per iteration
    integral_file: str = "FCIDUMP"
    roots: int = 1
    energy_tolerance: float = 1e-8
    davidson_tolerance: float = 5e-5
    write_determinants: int = 0
    print_determinants: int = 0
    one_rdm: bool = False
    spin_one_rdm: bool = False
    two_rdm: bool = False
    ends_well: bool = False  # `sampleN` given: Dice then returns without error
    seed: int = 0
    prefix: str = "."


# Keyword -> does it take a value. Names are compared without case, as Dice does.
_SERVED = {
    "nocc": True, "schedule": False, "orbitals": True, "nroots": True, "spin": True, "maxiter": True, "de": True,
    "davidsontol": True, "davidsontolloose": True, "writebestdeterminants": True, "printbestdeterminants": True,
    "nptiter": True, "samplen": True, "doonerdm": False, "dospinonerdm": False, "dordm": False,
    "dospinrdm": False, "seed": True, "prefix": True, "noio": False, "io": False, "outputlevel": True,
    "num_thrds": True, "diskdavidson": False, "directdavidson": False, "epsilon2": True, "epsilon2large": True,
    "targeterror": True, "nblocks": True, "pointgroup": True, "irrep": True, "excitation": True, "nvirt": True,
    "relaxedrdm": False, "algorithm": True, "treversal": True,
}  # fmt: skip
_NOT_SERVED = {
    "nact", "ncore", "dolcc", "extrapolate", "dosoc", "doresponse", "maxseniority", "maxexcitation", "senioandexc",
    "dogtensor", "dosocqdpt", "socmultiplier", "onlyperturbative", "printalldeterminants", "transitionrdm", "quasiq",
    "restrict", "restrictv", "applyb", "cdfcitol", "restart", "deterministic", "fullrestart", "eps",
    "searchforlowestenergydet", "dothreerdm", "dofourrdm", "cdfciiter", "cdfcion", "reportinterval", "z_threshold",
    "cdfcisample",
}  # fmt: skip


def read_input(text: str) -> Schedule:
    """input.dat by Dice's rules: words apart by blanks, commas or tabs, any case, # for comments."""
    given: dict[str, str] = {}
    sweep: list[tuple[int, float]] = []
    lines = iter(text.splitlines())
    for line in lines:
        words = words_of_line(line)
        if not words or words[0].startswith("#"):
            continue
        keyword = words[0].lower()
        if keyword in _NOT_SERVED:
            raise Stop(f"{words[0]} is not served by the embedded solver: run this input with Dice")
        if keyword not in _SERVED:
            raise Stop(f"cannot read option {words[0]}")
        if keyword == "schedule":
            for row in _block(lines, "schedule"):
                if len(row) < 2:
                    raise Stop(f"cannot read the schedule line {' '.join(row)}")
                sweep.append((int(_number(row[0], "schedule")), _number(row[1], "schedule")))
            continue
        if _SERVED[keyword] and len(words) < 2:
            raise Stop(f"option {words[0]} has no value")
        given[keyword] = words[1] if len(words) > 1 else ""
        if keyword == "nocc":
            count = int(_number(given["nocc"], "nocc"))
            for row in _block(lines, "nocc"):
                if len(row) != count:
                    raise Stop(f"nocc: {count} neq {len(row)}\n{'  '.join(row)}")
    return _schedule(given, sweep)


def _block(lines: Iterator[str], name: str) -> Iterator[list[str]]:
    for line in lines:
        words = words_of_line(line)
        if words and words[0].lower() == "end":
            return
        if words and not words[0].startswith("#"):
            yield words
    raise Stop(f"the {name} block has no end")


def _number(word: str, name: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise Stop(f"option {name}: {word} is not a number") from None


def _schedule(given: Mapping[str, str], sweep: Sequence[tuple[int, float]]) -> Schedule:
    def number(name: str, default: float) -> float:
        return _number(given[name], name) if name in given else default

    iterations = int(number("maxiter", -1))
    if not sweep or iterations < sweep[-1][0]:
        raise Stop("maxiter should be greater than last entry of sweep_iter")
    if "nocc" not in given:
        raise Stop("nocc keyword has to be included.")
    if iterations < 1:
        raise Stop("maxiter 0: there is nothing to do, and Dice aborts", ABORTED)
    if "samplen" in given and number("nptiter", 1) != 0:
        raise Stop(
            "perturbation theory is not served by the embedded solver: set nPTiter 0, or run this input with Dice"
        )
    if number("treversal", 0) != 0:
        raise Stop("Treversal is not served by the embedded solver: run this input with Dice")
    cutoffs: list[float] = []
    for (start, cutoff), (end, _) in zip(sweep, [*sweep[1:], (iterations, 0.0)], strict=True):
        cutoffs += [cutoff] * (end - start)
    return Schedule(
        electrons=int(number("nocc", 0)),
        cutoffs=tuple(cutoffs),
        integral_file=given.get("orbitals", "FCIDUMP"),
        roots=max(1, int(number("nroots", 1))),
        energy_tolerance=number("de", 1e-8),
        davidson_tolerance=number("davidsontol", 5e-5),
        write_determinants=int(number("writebestdeterminants", 0)),
        print_determinants=int(number("printbestdeterminants", 0)),
        one_rdm="doonerdm" in given,
        spin_one_rdm="dospinonerdm" in given,
        two_rdm="dordm" in given or "dospinrdm" in given,
        ends_well="samplen" in given,
        seed=int(number("seed", 0)),
        prefix=given.get("prefix", "."),
    )


def read_strings(path: Path, spin: str, norb: int) -> Occupations:
    """The strings of AlphaDets.bin or BetaDets.bin, or what Dice says or does when they are wrong."""
    data = path.read_bytes() if path.is_file() else b""
    if not data:
        raise Stop(f"{path.name} is missing or empty (Dice dies of a segmentation fault here)", CRASHED)
    if len(data) % STRING_BYTES:
        raise Stop(f"{path.name} has {len(data)} bytes, which is not a multiple of {STRING_BYTES}")
    filled = np.unpackbits(np.frombuffer(data, np.uint8).reshape(-1, STRING_BYTES), axis=1).sum(axis=1)
    if np.any(filled != filled[0]):
        raise Stop(f"not enough 1 bits ({spin}) {filled[0]}  {filled[filled != filled[0]][0]}")
    try:
        return bits_of(decode(data, norb), norb).astype(bool)
    except ConfigurationError as error:
        raise Stop(f"{path.name}: {error} (Dice aborts here)", ABORTED) from None
