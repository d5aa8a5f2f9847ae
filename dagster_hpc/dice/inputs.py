"""input.dat: the keywords of a run, through a template that a site may replace; and what an existing one asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb, inf, isfinite
from pathlib import Path

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.script import templates_folder
from dagster_hpc.subspace.payload import FCIDUMP

TEMPLATE = "dice_input.dat.j2"
ADD_NOTHING = 2147483647  # as a cutoff: no determinant passes it
_INT32 = 2147483647
_LEAN_TOLERANCE, _REFERENCE_TOLERANCE = 1e-7, 1e-5


@dataclass(frozen=True)
class DiceOptions:
    """How Dice is to solve. The lean keyword set writes no two-particle density matrices, which nobody reads.

    `select_cutoff=None` adds no determinants to those given: one iteration, one diagonalization.

    Example:
        options = DiceOptions(select_cutoff=5e-4, nroots=2)
        files = dict(one_body=one_body, two_body=two_body, options=options)
        write_dice_inputs("run", strings, strings, norb=10, nelec=(1, 1), **files)
    """

    select_cutoff: float | None = None  # a determinant a enters where |H_ai c_i| is larger
    davidson_tol: float | None = (
        None  # residual of the final diagonalization; 1e-7, or 1e-5 with the reference keywords
    )
    energy_tol: float = 1e-10  # iterations end when the energy changes by less
    max_iter: int = 10
    return_sci_state: bool = (
        True  # False: results carry no dense state; dets.bin is written all the same, to be validated
    )
    seed: int | None = None  # makes runs on one rank identical bit by bit
    nroots: int = 1
    spin: float | None = None  # written when given; Dice reads it and ignores it
    reference_keywords: bool = False  # of qiskit-addon-dice-solver: two-particle matrices, exit code 1

    def __post_init__(self) -> None:
        faults = [
            f"{name} is {value}; it must be a positive number"
            for name, value in (
                ("select_cutoff", self.select_cutoff),
                ("davidson_tol", self.davidson_tol),
                ("energy_tol", self.energy_tol),
            )
            if value is not None and not (isfinite(value) and value > 0)
        ]
        faults += [
            f"{name} is {value}; it must be a whole number of at least 1"
            for name, value in (("max_iter", self.max_iter), ("nroots", self.nroots))
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _INT32
        ]
        if self.seed is not None and not 0 <= self.seed <= _INT32:
            faults.append(f"seed is {self.seed}; Dice takes 0 to {_INT32}")
        if self.spin is not None and not isfinite(self.spin):
            faults.append(f"spin is {self.spin}; it must be a number")
        if faults:
            raise ConfigurationError(faults)

    @property
    def tolerance(self) -> float:
        default = _REFERENCE_TOLERANCE if self.reference_keywords else _LEAN_TOLERANCE
        return default if self.davidson_tol is None else self.davidson_tol


def render_input(
    options: DiceOptions, norb: int, nelec: tuple[int, int], *, fcidump: str = FCIDUMP, template: str | None = None
) -> str:
    """input.dat. `template` is a site's own in place of the packaged one."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

    path = Path(template) if template else templates_folder() / TEMPLATE
    if not path.is_file():
        raise ConfigurationError(f"there is no template {path} for Dice's input")
    environment = Environment(
        loader=FileSystemLoader(path.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    spin = 0.0 if options.spin is None and options.reference_keywords else options.spin
    try:
        return environment.get_template(path.name).render(
            options=options,
            norb=norb,
            nelec=nelec,
            nroots=options.nroots,
            spin=spin,
            fcidump=fcidump,
            select_cutoff=ADD_NOTHING if options.select_cutoff is None else options.select_cutoff,
            davidson_tol=options.tolerance,
            energy_tol=options.energy_tol,
            max_iter=1 if options.select_cutoff is None else options.max_iter,
            determinants=min(comb(norb, nelec[0]) * comb(norb, nelec[1]), _INT32),
            reference_keywords=options.reference_keywords,
            seed=options.seed,
            electrons=sum(nelec),
        )
    except TemplateError as error:
        raise ConfigurationError(f"the template {path} cannot be rendered: {error}") from error


@dataclass(frozen=True)
class Asked:
    """What an input.dat asks for, as far as the answer can be judged by it. None: it does not say."""

    growing: bool | None = None
    nroots: int = 1
    tolerance: float = _REFERENCE_TOLERANCE
    spin_rdm: bool = True
    fcidump: str = FCIDUMP


def read_input(text: str) -> Asked:
    """By Dice's rules: blanks, commas or tabs between words, any case, # for comments. Dice itself judges the keywords."""
    keywords: dict[str, str] = {}
    cutoffs: list[float] = []
    lines = iter(text.splitlines())
    for line in lines:
        words = words_of_line(line)
        if not words or words[0].startswith("#"):
            continue
        keyword = words[0].lower()
        if keyword == "schedule":
            cutoffs = [_number(row[1]) for row in _block(lines) if len(row) > 1]
        elif keyword == "nocc":
            list(_block(lines))
        else:
            keywords[keyword] = words[1] if len(words) > 1 else ""
    return Asked(
        growing=any(not cutoff >= 1e9 for cutoff in cutoffs) if cutoffs else None,
        nroots=max(1, int(_number(keywords.get("nroots", "1"), 1))),
        tolerance=_number(keywords.get("davidsontol", ""), 5e-5),
        spin_rdm={"dospinonerdm", "doonerdm"} <= set(keywords),
        fcidump=keywords.get("orbitals", "FCIDUMP"),
    )


def words_of_line(line: str) -> list[str]:
    """By Dice's rules."""
    return [word for word in re.split(r"[,\s]+", line) if word]


def _block(lines: Iterator[str]) -> Iterator[list[str]]:
    for line in lines:
        words = words_of_line(line)
        if words and words[0].lower() == "end":
            return
        if words and not words[0].startswith("#"):
            yield words


def _number(word: str, default: float = inf) -> float:
    try:
        value = float(word)
    except ValueError:
        return default
    return value if isfinite(value) else default
