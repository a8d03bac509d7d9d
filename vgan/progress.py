"""How long work says how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with what is done of how much; a terminal draws a bar, Prefect updates an artifact."""

    def __call__(self, done: float, total: float, note: str) -> None:
        """Report `done` of `total` units; `note` is one short line for a person."""
        ...


def silent(done: float, total: float, note: str) -> None:
    """Listen to nothing."""
