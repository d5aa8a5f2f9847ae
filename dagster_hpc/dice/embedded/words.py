"""What the embedded solver says, in Dice's words."""

from __future__ import annotations

RULE = "*" * 62


def say(text: str) -> None:
    """A line of output, at once: whoever watches the job sees it."""
    print(text, flush=True)
