"""Dice, or what stands for it, as jobs: files, validated results, a solver resource, assets.

The names below are imported when they are first used: reading Dice's files needs no Dagster, and nothing here PySCF.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster_hpc.dice.assets import (
        DiceProblem,
        DiceResultType,
        SCIResultType,
        build_dice_asset,
        create_dice_resources,
    )
    from dagster_hpc.dice.files import DiceOptions, read_dice_outputs, write_dice_inputs
    from dagster_hpc.dice.io_manager import SCIResultIOManager
    from dagster_hpc.dice.metadata import dice_metadata
    from dagster_hpc.dice.output_text import DiceFailed
    from dagster_hpc.dice.result import DenseStateTooLarge, DiceResult
    from dagster_hpc.dice.solver import DiceRun, DiceSolver, DiceTrial
    from dagster_hpc.dice.validation import Check, DiceResultInvalid

_HOME = {
    "assets": ("DiceProblem", "DiceResultType", "SCIResultType", "build_dice_asset", "create_dice_resources"),
    "files": ("DiceOptions", "read_dice_outputs", "write_dice_inputs"),
    "io_manager": ("SCIResultIOManager",),
    "metadata": ("dice_metadata",),
    "output_text": ("DiceFailed",),
    "result": ("DenseStateTooLarge", "DiceResult"),
    "solver": ("DiceRun", "DiceSolver", "DiceTrial"),
    "validation": ("Check", "DiceResultInvalid"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

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
    "SCIResultIOManager",
    "SCIResultType",
    "build_dice_asset",
    "create_dice_resources",
    "dice_metadata",
    "read_dice_outputs",
    "write_dice_inputs",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'dagster_hpc.dice' has no attribute {name!r}")
    value = getattr(import_module(f"dagster_hpc.dice.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
