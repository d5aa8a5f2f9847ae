"""What a user should know although the call goes on."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster_hpc.resources.step import Context


def tell(context: Context | None, message: str) -> None:
    """In Dagster's event log; as a warning in a plain script."""
    if context is not None:
        context.log.warning(message)
    else:
        warnings.warn(message, stacklevel=5)
