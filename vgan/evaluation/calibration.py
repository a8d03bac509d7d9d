"""Every figure with its floor, its controls and its interval, all at one sample count.

The distances depend on how many clips are compared, so nothing is compared at unequal counts:
with n at most half of the held-out clips, one draw takes two disjoint random halves A and B of n
real clips and n generated ones F, and gives the value f(A, F) and the floor f(A, B). Both are
averaged over all draws. A control is f(A, spoilt B), averaged over the first draws.

The interval holds the middle 95 % of the draws. Half-samples without replacement vary as much as
the whole sample's estimate does (delete-half jackknife, Shao and Wu 1989), and unlike a bootstrap
with replacement they hold no clip twice, which would ruin neighbour counts and bias the Frechet
distance.

Halves are cut between groups of videos, never through one, wherever there are enough of them: two
clips of one video on both sides would make a floor that no model of other videos could reach.
Where there are too few videos for that, halves are by clip and the evaluation says so.

Shapes: N clips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..records import Metric
from . import probes
from .probes import Traits
from .suite import COMPARISONS, Comparison, Figure
from .views import Views

MOST_PER_SIDE = 1024  # keeps a draw's distance matrices at 8 MB
FEWEST_HELDOUT = 4  # clips, two a side
FEWEST_GROUPS = 8  # of videos, for halves between them; with fewer all draws are much the same halves

Labels = NDArray[np.int64]
Double = NDArray[np.float64]
Halves = Literal["videos", "clips"]
Tick = Callable[[str], None]  # called after each draw with the first figure's name


@dataclass(frozen=True)
class Draw:
    """Indices of one comparison, n each."""

    real: Labels
    other_real: Labels  # disjoint from `real`
    fake: Labels


@dataclass(frozen=True)
class Draws:
    """The comparisons to make."""

    each: tuple[Draw, ...]
    halves: Halves  # what was kept whole when the held-out clips were cut in two
    count: int  # n: clips on each side of each comparison


def draw_halves(groups_N: Labels, generated: int, draws: int, seed: int, most: int = MOST_PER_SIDE) -> Draws:
    """The comparisons to make; a function of its arguments alone.

    Args:
        groups_N: of the held-out clips: those of equal number stay together if they can.
        generated: clips to choose from.
        draws: how many.
        seed: the real halves depend on it and the groups alone.
        most: clips on a side.
    """
    rng, fake_rng = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 4])
    sides = [_cut(groups_N, rng) for _ in range(draws)]
    halves: Halves = "videos"
    if len(np.unique(groups_N)) < FEWEST_GROUPS or min(map(_smaller, sides)) < len(groups_N) // 4:
        halves = "clips"
        sides = [_cut(np.arange(len(groups_N)), rng) for _ in range(draws)]
    n = min(*map(_smaller, sides), generated, most)
    each = [Draw(one[:n], other[:n], fake_rng.permutation(generated)[:n]) for one, other in sides]
    return Draws(tuple(each), halves, n)


def _cut(groups_N: Labels, rng: np.random.Generator) -> tuple[Labels, Labels]:
    """Two disjoint halves in random order: groups at random fill the first one as far as they fit."""
    _, group_N, sizes = np.unique(groups_N, return_inverse=True, return_counts=True)
    order = rng.permutation(len(sizes))
    fits = np.zeros(len(sizes), np.bool_)
    fits[order] = np.cumsum(sizes[order]) <= len(groups_N) // 2
    clips = rng.permutation(len(groups_N))
    chosen = fits[group_N[clips]]
    return clips[chosen], clips[~chosen]


def _smaller(sides: tuple[Labels, Labels]) -> int:
    return min(map(len, sides))


@dataclass(frozen=True)
class Reference:
    """What is the same for every generator: the figures of real clips, plain and spoilt, by name."""

    floors: Mapping[str, Double]  # of each draw
    controls: Mapping[str, Mapping[str, float]]  # by control and figure


def refer(
    real: Views,
    controls: Mapping[str, Views],
    draws: Draws,
    comparisons: Sequence[Comparison] = COMPARISONS,
    tick: Tick = lambda _what: None,
) -> Reference:
    """Floors and controls.

    Args:
        real: held-out clips.
        controls: by name, all the held-out clips spoilt in one way, in the same order.
        draws: from `draw_halves`.
        comparisons: what is computed, as far as `real` has the views for it.
        tick: called after each draw.
    """
    floors: dict[str, Double] = {}
    spoilt: dict[str, dict[str, float]] = {name: {} for name in controls}
    for comparison in (c for c in comparisons if c.view in real):
        floors |= _columns(comparison, real, real, [(d.real, d.other_real) for d in _first(draws, comparison)], tick)
        few = [(d.real, d.other_real) for d in _first(draws, comparison)[: comparison.control_draws]]
        for name, views in controls.items():
            found = _columns(comparison, real, views, few, tick)
            spoilt[name] |= {figure: float(values.mean()) for figure, values in found.items()}
    return Reference(floors, spoilt)


def calibrate(
    real: Views,
    fake: Views,
    reference: Reference,
    draws: Draws,
    comparisons: Sequence[Comparison] = COMPARISONS,
    tick: Tick = lambda _what: None,
) -> tuple[Metric, ...]:
    """All figures with floor, controls and interval.

    Args:
        real: held-out clips.
        fake: generated clips.
        reference: from `refer` with the same `real`, `draws` and `comparisons`.
        draws: from `draw_halves`.
        comparisons: what is computed, as far as `real` has the views for it.
        tick: called after each draw.
    """
    metrics: list[Metric] = []
    for comparison in (c for c in comparisons if c.view in real):
        pairs = [(d.real, d.fake) for d in _first(draws, comparison)]
        values = _columns(comparison, real, fake, pairs, tick)
        metrics += [_metric(figure, values[figure.name], reference, draws.count) for figure in comparison.figures]
    return tuple(metrics)


def count_draws(draws: int, controls: int, comparisons: Sequence[Comparison] = COMPARISONS) -> tuple[int, int]:
    """How often `refer` and `calibrate` call `tick`."""
    each = [min(draws, c.draws) for c in comparisons]
    few = [min(n, c.control_draws) for n, c in zip(each, comparisons, strict=True)]
    return sum(each) + controls * sum(few), sum(each)


def _first(draws: Draws, comparison: Comparison) -> tuple[Draw, ...]:
    return draws.each[: comparison.draws]


def _columns(
    comparison: Comparison, left: Views, right: Views, pairs: Sequence[tuple[Labels, Labels]], tick: Tick
) -> dict[str, Double]:
    """The values of each figure in each draw, by name."""
    rows: list[tuple[float, ...]] = []
    for number, (some, others) in enumerate(pairs):
        rows.append(comparison.measure(left[comparison.view][some], right[comparison.view][others], number))
        tick(comparison.figures[0].name)
    columns = np.array(rows, np.float64).T
    return {figure.name: column for figure, column in zip(comparison.figures, columns, strict=True)}


def _metric(figure: Figure, values: Double, reference: Reference, count: int) -> Metric:
    low, high = np.quantile(values, (0.025, 0.975))
    value, floor = float(values.mean()), float(reference.floors[figure.name].mean())
    controls = {control: figures[figure.name] for control, figures in sorted(reference.controls.items())}
    return Metric(
        name=figure.name,
        value=value,
        low=float(low),
        high=float(high),
        floor=floor,
        controls=controls,
        score=calibrated(value, floor, controls, figure.better),
        draws=tuple(float(value) for value in values),
        better=figure.better,
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
    real: Traits, real_labels_N: Labels, fake: Traits, fake_labels_N: Labels, draws: Draws
) -> tuple[dict[str, float], dict[str, float]]:
    """The probes of `shapes` of the generated and of the real clips; `cells` is averaged over the draws."""
    of_fake = probes.summarise(fake, fake_labels_N, real, real_labels_N)
    of_real = probes.summarise(real, real_labels_N, real, real_labels_N)
    made: list[float] = []
    floor: list[float] = []
    for draw in draws.each:
        wanted = (real.cell[draw.real], real_labels_N[draw.real])
        made.append(probes.covered_cells(fake.cell[draw.fake], fake_labels_N[draw.fake], *wanted))
        floor.append(probes.covered_cells(real.cell[draw.other_real], real_labels_N[draw.other_real], *wanted))
    return {**of_fake, "cells": float(np.mean(made))}, {**of_real, "cells": float(np.mean(floor))}
