"""Every figure with its floor, its controls and its interval, all at one sample count.

The distances depend on how many clips are compared, so nothing is compared at unequal counts:
with n at most half of the held-out clips, one draw takes two disjoint random halves A and B of n
real clips and n generated ones F, and gives the value f(A, F) and the floor f(A, B). Both are
averaged over all draws. A control is f(A, spoilt B), averaged over the first draws.

The interval holds the middle 95 % of the draws. Half-samples without replacement vary as much as
the whole sample's estimate does (delete-half jackknife, Shao and Wu 1989), and unlike a bootstrap
with replacement they hold no clip twice, which would ruin neighbour counts and bias the Frechet
distance. Halves are by clip: two clips of one video may lie on either side, so the floor says
what the best possible generator would reach, not what another set of videos would.

Shapes: N clips, K coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..records import Metric
from . import probes
from .features import Embedding
from .metrics import frechet, kernel_distance, neighbourhoods
from .probes import Traits
from .space import Space

MOST_PER_SIDE = 1024  # keeps a draw's distance matrices at 8 MB and all draws within a minute
CONTROL_DRAWS = 20
FEWEST_HELDOUT = 4  # two a side

Labels = NDArray[np.int64]
BETTER: dict[str, Literal["lower", "higher"]] = {
    "frechet": "lower",
    "motion": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
}
PRIMARY = "frechet"
GUARDS = ("recall", "motion")


@dataclass(frozen=True)
class Points:
    """N clips in the space of comparison."""

    clip_NK: NDArray[np.float64]
    motion_NK: NDArray[np.float64]

    @classmethod
    def of(cls, space: Space, embedding: Embedding, labels_N: Labels) -> Points:
        """Place embedded clips of these labels."""
        return cls(space.clip(embedding, labels_N), space.motion(embedding, labels_N))

    def __len__(self) -> int:
        return len(self.clip_NK)

    def __getitem__(self, indices: Labels) -> Points:
        return Points(self.clip_NK[indices], self.motion_NK[indices])


@dataclass(frozen=True)
class Draw:
    """Indices of one comparison, n each."""

    real: Labels
    other_real: Labels  # disjoint from `real`
    fake: Labels


def side_count(heldout: int, generated: int) -> int:
    """n: clips on each side of a comparison."""
    return min(heldout // 2, generated, MOST_PER_SIDE)


def draw_halves(heldout: int, generated: int, draws: int, seed: int) -> list[Draw]:
    """The comparisons to make; a function of its arguments alone."""
    n = side_count(heldout, generated)
    rng = np.random.default_rng([seed, 1])
    orders = [(rng.permutation(heldout), rng.permutation(generated)) for _ in range(draws)]
    return [Draw(real[:n], real[n : 2 * n], fake[:n]) for real, fake in orders]


def compare(real: Points, fake: Points) -> dict[str, float]:
    """All metrics between two sets of equal count, by name."""
    near = neighbourhoods(real.clip_NK, fake.clip_NK)
    return {
        "frechet": frechet(real.clip_NK, fake.clip_NK),
        "motion": kernel_distance(real.motion_NK, fake.motion_NK),
        "precision": near.precision,
        "recall": near.recall,
        "density": near.density,
        "coverage": near.coverage,
    }


def calibrate(
    real: Points,
    fake: Points,
    controls: Mapping[str, Points],
    draws: list[Draw],
    tick: Callable[[], None] = lambda: None,
) -> tuple[Metric, ...]:
    """All metrics with floor, controls and interval.

    Args:
        real: held-out clips.
        fake: generated clips.
        controls: by name, all the held-out clips spoilt in one way, in the same order.
        draws: from `draw_halves`.
        tick: called after each draw.
    """
    values: list[dict[str, float]] = []
    floors: list[dict[str, float]] = []
    for draw in draws:
        half = real[draw.real]
        values.append(compare(half, fake[draw.fake]))
        floors.append(compare(half, real[draw.other_real]))
        tick()
    few = draws[:CONTROL_DRAWS]
    worse = {c: [compare(real[d.real], points[d.other_real]) for d in few] for c, points in controls.items()}
    count = len(draws[0].real)
    return tuple(_metric(name, values, floors, worse, count) for name in BETTER)


def _metric(
    name: str,
    values: list[dict[str, float]],
    floors: list[dict[str, float]],
    worse: dict[str, list[dict[str, float]]],
    count: int,
) -> Metric:
    figures = np.array([value[name] for value in values])
    low, high = np.quantile(figures, (0.025, 0.975))
    value, floor = float(figures.mean()), float(np.mean([floor[name] for floor in floors]))
    controls = {control: float(np.mean([f[name] for f in figures])) for control, figures in worse.items()}
    return Metric(
        name=name,
        value=value,
        low=float(low),
        high=float(high),
        floor=floor,
        controls=controls,
        score=calibrated(value, floor, controls, BETTER[name]),
        draws=tuple(float(figure) for figure in figures),
        better=BETTER[name],
        real_clips=count,
        fake_clips=count,
    )


def calibrated(
    value: float, floor: float, controls: Mapping[str, float], better: Literal["lower", "higher"]
) -> float | None:
    """Where a figure lies between the floor, 0, and the worst control, 1; None when no control is worse than that."""
    if not controls:
        return None
    worst = max(controls.values()) if better == "lower" else min(controls.values())
    worse = worst > floor if better == "lower" else worst < floor
    return (value - floor) / (worst - floor) if worse else None


def calibrate_probes(
    real: Traits, real_labels_N: Labels, fake: Traits, fake_labels_N: Labels, draws: list[Draw]
) -> tuple[dict[str, float], dict[str, float]]:
    """The probes of `shapes` of the generated and of the real clips; `cells` is averaged over the draws."""
    of_fake = probes.summarise(fake, fake_labels_N, real, real_labels_N)
    of_real = probes.summarise(real, real_labels_N, real, real_labels_N)
    made: list[float] = []
    floor: list[float] = []
    for draw in draws:
        wanted = (real.cell[draw.real], real_labels_N[draw.real])
        made.append(probes.covered_cells(fake.cell[draw.fake], fake_labels_N[draw.fake], *wanted))
        floor.append(probes.covered_cells(real.cell[draw.other_real], real_labels_N[draw.other_real], *wanted))
    return {**of_fake, "cells": float(np.mean(made))}, {**of_real, "cells": float(np.mean(floor))}
