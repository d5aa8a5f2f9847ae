"""Dice, or what stands for it, as jobs: files, validated results, a solver resource, assets.

The names below are imported when they are first used: reading Dice's files needs no Dagster, and nothing here PySCF.

In the examples `molecule` is hydrogen in ten orbitals, with `one_body`, `two_body`, the `strings` of one electron,
`samples` of it, and a solver `dice`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_hpc.lazy import lazy_names

if TYPE_CHECKING:
    from dagster_hpc.dice.assets import DiceProblem, build_dice_asset
    from dagster_hpc.dice.dagster_types import DiceResultType, SCIResultType
    from dagster_hpc.dice.embedded_solver import EmbeddedSolver
    from dagster_hpc.dice.files import DiceOptions, read_dice_outputs, write_dice_inputs
    from dagster_hpc.dice.growth import GrowthStudy, growth_study
    from dagster_hpc.dice.growth_asset import build_dice_growth_asset
    from dagster_hpc.dice.io_manager import SCIResultIOManager
    from dagster_hpc.dice.metadata import dice_metadata
    from dagster_hpc.dice.output_text import DiceFailed
    from dagster_hpc.dice.resources import create_dice_resources
    from dagster_hpc.dice.result import DenseStateTooLarge, DiceResult
    from dagster_hpc.dice.run import DiceRun
    from dagster_hpc.dice.solver import DiceSolver
    from dagster_hpc.dice.trial import DiceTrial
    from dagster_hpc.dice.validation import Check, DiceResultInvalid

__all__ = [
    "Check",
    "DenseStateTooLarge",
    "DiceFailed",
    "DiceOptions",
    "DiceProblem",
    "DiceResult",
    "DiceResultInvalid",
    "DiceResultType",
    "DiceRun",
    "DiceSolver",
    "DiceTrial",
    "EmbeddedSolver",
    "GrowthStudy",
    "SCIResultIOManager",
    "SCIResultType",
    "build_dice_asset",
    "build_dice_growth_asset",
    "create_dice_resources",
    "dice_metadata",
    "growth_study",
    "read_dice_outputs",
    "write_dice_inputs",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "assets": ("DiceProblem", "build_dice_asset"),
        "dagster_types": ("DiceResultType", "SCIResultType"),
        "embedded_solver": ("EmbeddedSolver",),
        "files": ("DiceOptions", "read_dice_outputs", "write_dice_inputs"),
        "growth": ("GrowthStudy", "growth_study"),
        "growth_asset": ("build_dice_growth_asset",),
        "io_manager": ("SCIResultIOManager",),
        "metadata": ("dice_metadata",),
        "output_text": ("DiceFailed",),
        "resources": ("create_dice_resources",),
        "result": ("DenseStateTooLarge", "DiceResult"),
        "solver": ("DiceSolver",),
        "run": ("DiceRun",),
        "trial": ("DiceTrial",),
        "validation": ("Check", "DiceResultInvalid"),
    },
)
