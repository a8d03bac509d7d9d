"""Training curves as inline SVG, drawn from the lines of metrics.jsonl without any library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ..page import BOTTOM, LEFT, PLOT_HEIGHT, PLOT_WIDTH, RIGHT, TOP, escaped, plot
from .glossary import CURVES, Curve, figure

HORIZONTAL = ("clips", "step")
SMOOTHED_FROM = 40  # points; as many, when uneven, are drawn pale with their moving mean
UNEVEN = 4.0  # times up and down the whole height
WINDOWS = 25  # of the moving mean, side by side
Point = tuple[float, float]


def curves_html(lines: Sequence[Mapping[str, object]]) -> str:
    """A small plot for each kind of number that the lines hold, against clips seen; "" when there are none.

    What the glossary does not know is drawn too, under its own name.
    """
    names: list[str] = []
    for line in lines:
        names += [name for name in line if name not in names and name not in HORIZONTAL]
    known = [name for curve in CURVES for name in curve.series]
    unknown = [Curve(name, "", {name: name}) for name in names if name not in known]
    plots = [_plot(curve, lines) for curve in (*CURVES, *unknown)]
    return f'<div class="plots">{"".join(plots)}</div>' if any(plots) else ""


def _plot(curve: Curve, lines: Sequence[Mapping[str, object]]) -> str:
    """One plot, "" when no series of it has two points."""
    found = {title: _points(lines, name) for name, title in curve.series.items()}
    series = {title: points for title, points in found.items() if len(points) >= 2}
    if not series or not (curve.always or any(y for points in series.values() for _, y in points)):
        return ""
    levels = [] if curve.level is None else [curve.level]
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points] + levels
    x_low, x_high, y_low, y_high = min(xs), max(xs), min(0.0, *ys), max(ys)
    floor = PLOT_HEIGHT - BOTTOM
    wide = (PLOT_WIDTH - LEFT - RIGHT) / ((x_high - x_low) or 1)
    tall = (floor - TOP) / ((y_high - y_low) or 1)

    def line(points: Sequence[Point], kind: str) -> str:
        path = " ".join(f"{LEFT + (x - x_low) * wide:.1f},{floor - (y - y_low) * tall:.1f}" for x, y in points)
        return f'<polyline class="{kind}" points="{path}"/>'

    drawing = "".join(
        f'<path class="level" d="M{LEFT} {floor - (y - y_low) * tall:.1f}H{PLOT_WIDTH - RIGHT}"/>' for y in levels
    )
    for place, points in enumerate(series.values()):
        smooth = _is_uneven(points)
        drawing += line(points, f"s{place}{' raw' if smooth else ''}")
        drawing += line(_moving_mean(points), f"s{place}") if smooth else ""
    note = _note_html(curve, list(series))
    right = f"{x_high:,.0f} clips"
    return plot(curve.title, drawing, top=figure(y_high), bottom=figure(y_low), right=right, note=note)


def _note_html(curve: Curve, shown: Sequence[str]) -> str:
    """What the lines are, where there are several, and what is normal."""
    keys = [f'<span class="key s{place}"></span>{escaped(title)}' for place, title in enumerate(shown)]
    legend = f"<p>{' &nbsp; '.join(keys)}</p>" if len(keys) > 1 else ""
    return legend + (f"<p>{escaped(curve.normal)}</p>" if curve.normal else "")


def _points(lines: Sequence[Mapping[str, object]], name: str) -> list[Point]:
    points: list[Point] = []
    for number, line in enumerate(lines):
        y, x = line.get(name), line.get("clips", line.get("step", number))
        if _is_number(x) and _is_number(y):
            points.append((float(str(x)), float(str(y))))
    return points


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_uneven(points: Sequence[Point]) -> bool:
    """Whether a line goes up and down so often that its trend cannot be seen."""
    ys = [y for _, y in points]
    way = sum(abs(y - x) for x, y in pairwise(ys))
    return len(points) >= SMOOTHED_FROM and way > UNEVEN * (max(ys) - min(ys))


def _moving_mean(points: Sequence[Point]) -> list[Point]:
    """Each point with the mean of those around it; fewer at the ends, evenly on both sides."""
    reach = max(1, len(points) // WINDOWS)
    smooth: list[Point] = []
    for place, (x, _) in enumerate(points):
        near = min(reach, place, len(points) - 1 - place)
        window = points[place - near : place + near + 1]
        smooth.append((x, sum(y for _, y in window) / len(window)))
    return smooth
