"""How long work says how far it is, without knowing who listens."""

from __future__ import annotations

from collections import deque
from typing import Protocol

PACE_SECONDS = 30.0  # over which speed is measured


class Progress(Protocol):
    """Called with what is done of how much; a terminal draws a bar, Prefect updates an artifact."""

    def __call__(self, done: float, total: float, note: str) -> None:
        """Report `done` of `total` units; `note` is one short line for a person."""
        ...


def silent(done: float, total: float, note: str) -> None:
    """Listen to nothing."""


class Pace:
    """How fast work goes now, and how long it still takes, from what is done at moments that it is told of.

    What was done before the first moment, by an earlier attempt, is not counted.
    """

    def __init__(self) -> None:
        self._told: deque[tuple[float, float]] = deque()
        self._total = 0.0

    def tell(self, at: float, done: float, total: float) -> None:
        """At second `at` of any clock, `done` of `total` units are done; fewer done or another total begins anew."""
        if self._told and (done < self._told[-1][1] or at < self._told[-1][0] or total != self._total):
            self._told.clear()
        self._total = total
        self._told.append((at, done))
        while len(self._told) > 2 and self._told[1][0] <= at - PACE_SECONDS:
            self._told.popleft()

    @property
    def speed(self) -> float | None:
        """Units a second over the last half a minute, or longer where moments are rarer; None before two moments."""
        if len(self._told) < 2:
            return None
        (start, before), (end, done) = self._told[0], self._told[-1]
        return (done - before) / (end - start) if end > start else None

    @property
    def seconds_left(self) -> float | None:
        """Until all is done at this speed; None when that cannot be said."""
        speed = self.speed
        return (self._total - self._told[-1][1]) / speed if speed else None


def counted(number: int, one: str, several: str = "") -> str:
    """How many for people: '1 step', '1,200 steps'; `several` where it is not `one` with an s: '2 classes'."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def duration(seconds: float) -> str:
    """A time for people, in its two largest units: '45 s', '12 min 5 s', '3 h 20 min', '2 d 4 h'."""
    whole = round(seconds)
    for size, unit, smaller, name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {name}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
