"""The figures of an evaluation: their names, which way is better, and what each of them claims to see.

A figure that does not get worse with one of the spoilers it names in `sees` is broken (a test holds
that); one that does not name a spoiler may be blind to it, and says so in its function's docstring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]

MANY = 10_000  # as many half-samples as are asked for
LOOKS = frozenset({"noise", "blurred"})
TIME = frozenset({"frozen", "shuffled"})
CLASS = frozenset({"mislabelled"})
ALL = LOOKS | TIME | CLASS


@dataclass(frozen=True)
class Figure:
    """One figure of the suite."""

    name: str
    better: Better
    sees: frozenset[str]  # the controls that it must find worse than real clips; "mislabelled" where there are classes
    draws: int = MANY  # half-samples at most; fewer where one takes long


FIGURES = (
    Figure("frechet", "lower", ALL),
    Figure("kernel", "lower", ALL),
    Figure("motion", "lower", TIME | CLASS | {"noise"}),
    Figure("precision", "higher", ALL),
    Figure("recall", "higher", ALL),
    Figure("density", "higher", ALL),
    Figure("coverage", "higher", ALL),
    Figure("neighbour", "lower", ALL, draws=20),
    Figure("classifier", "lower", ALL, draws=10),
    Figure("memorisation", "higher", frozenset({"copied"})),
    Figure("sliced_frames", "lower", LOOKS, draws=10),
    Figure("sliced_xt", "lower", LOOKS | TIME, draws=10),
    Figure("sliced_yt", "lower", LOOKS | TIME, draws=10),
    Figure("sliced_changes", "lower", TIME | {"noise"}, draws=10),
    Figure("motion_size", "lower", TIME | {"noise"}),
    Figure("motion_direction", "lower", TIME),
    Figure("flicker", "lower", frozenset({"shuffled", "noise"})),
)
PRIMARY = "frechet"
GUARDS = ("recall", "memorisation", "motion")
