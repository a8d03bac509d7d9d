"""The figures of an evaluation: their names, which way is better, what each claims to see, and how it is computed.

A figure that does not get worse with one of the spoilers it names in `sees` is broken (a test holds
that); one that does not name a spoiler may be blind to it, and says so in its function's docstring.

Shapes: N clips on each side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from . import temporal
from .classifier import two_sample_accuracy
from .metrics import frechet, kernel_distance, neighbourhoods, polynomial_distance
from .neighbours import memorisation, nearest_neighbour_accuracy
from .sliced import sliced_wasserstein
from .views import Views

Better = Literal["lower", "higher"]
Array = NDArray[Any]
Measure = Callable[[Array, Array, int], tuple[float, ...]]  # of real and generated views, and a seed

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


@dataclass(frozen=True)
class Comparison:
    """Figures that come out of one look at two sets of clips."""

    view: str  # what is looked at
    figures: tuple[Figure, ...]
    measure: Measure  # gives a value for each of `figures`
    control_draws: int = 20  # half-samples behind each control

    @property
    def draws(self) -> int:
        """Half-samples at most behind the figures and their floors."""
        return min(figure.draws for figure in self.figures)

    def __call__(self, real: Views, fake: Views, seed: int) -> dict[str, float]:
        """The values by figure, of as many real clips as others."""
        values = self.measure(real[self.view], fake[self.view], seed)
        return {figure.name: value for figure, value in zip(self.figures, values, strict=True)}


def plain(measure: Callable[[Any, Any], float]) -> Measure:
    """A function of two arrays as a measure."""
    return lambda real_N, fake_N, _seed: (measure(real_N, fake_N),)


def _temporal(real_NF: Array, fake_NF: Array, _seed: int) -> tuple[float, ...]:
    gaps = (temporal.motion_size_gap, temporal.motion_direction_gap, temporal.flicker_gap)
    return tuple(gap(real_NF, fake_NF) for gap in gaps)


COMPARISONS = (
    Comparison("clip", (Figure("frechet", "lower", ALL),), plain(frechet)),
    Comparison("clip", (Figure("kernel", "lower", LOOKS | TIME),), plain(polynomial_distance)),
    Comparison("motion", (Figure("motion", "lower", ALL),), plain(kernel_distance)),
    Comparison(
        "clip",
        (
            Figure("precision", "higher", CLASS | {"noise", "frozen"}),
            Figure("recall", "higher", CLASS | {"noise", "frozen"}),
            Figure("density", "higher", ALL),
            Figure("coverage", "higher", ALL),
        ),
        lambda real_NK, fake_NK, _seed: astuple(neighbourhoods(real_NK, fake_NK)),
    ),
    Comparison("clip", (Figure("neighbour", "lower", ALL, draws=20),), plain(nearest_neighbour_accuracy), 5),
    Comparison(
        "clip",
        (Figure("classifier", "lower", ALL, draws=10),),
        lambda real_NK, fake_NK, seed: (two_sample_accuracy(real_NK, fake_NK, seed),),
        2,
    ),
    Comparison(
        "novelty",
        (Figure("memorisation", "higher", frozenset({"copied"})),),
        # The other way round in its arguments: see there.
        lambda real_N, fake_N, _seed: (memorisation(fake_N, real_N),),
    ),
    Comparison("frames", (Figure("sliced_frames", "lower", LOOKS),), plain(sliced_wasserstein)),
    Comparison("xt", (Figure("sliced_xt", "lower", LOOKS | TIME),), plain(sliced_wasserstein)),
    Comparison("yt", (Figure("sliced_yt", "lower", LOOKS | TIME),), plain(sliced_wasserstein)),
    Comparison("changes", (Figure("sliced_changes", "lower", LOOKS | TIME),), plain(sliced_wasserstein)),
    Comparison(
        "temporal",
        (
            Figure("motion_size", "lower", TIME | {"noise"}),
            Figure("motion_direction", "lower", TIME | {"noise"}),
            Figure("flicker", "lower", frozenset({"noise"})),
        ),
        _temporal,
    ),
)
FIGURES = tuple(figure for comparison in COMPARISONS for figure in comparison.figures)
PRIMARY = "frechet"
GUARDS = ("recall", "memorisation", "motion")


def compare(
    real: Views, fake: Views, seed: int = 0, comparisons: Sequence[Comparison] = COMPARISONS
) -> dict[str, float]:
    """All figures between two sets of equal count that the views at hand allow, by name."""
    values: dict[str, float] = {}
    for comparison in comparisons:
        if comparison.view in real and comparison.view in fake:
            values |= comparison(real, fake, seed)
    return values
