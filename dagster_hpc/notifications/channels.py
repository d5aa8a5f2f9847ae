"""What every channel can do: say who it is, and send a message or say why not."""

from __future__ import annotations

from typing import Protocol

from dagster_hpc.engine.errors import HPCError
from dagster_hpc.notifications.message import Message


class NotSent(HPCError):
    """The channel did not take a message. It is sent later."""


class Channel(Protocol):
    """A way to people."""

    @property
    def name(self) -> str:
        """By which the ledger knows what was sent on it: without secrets, and the same as long as it is the same."""

    def send(self, message: Message) -> None:
        """Send it, within seconds; `NotSent` with the other side's words."""
