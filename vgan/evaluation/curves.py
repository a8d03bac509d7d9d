"""Training curves as inline SVG, drawn from the lines of metrics.jsonl without any library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..page import BOTTOM, LEFT, PLOT_HEIGHT, PLOT_WIDTH, RIGHT, TOP, plot
from .glossary import figure

HORIZONTAL = ("clips", "step")
Point = tuple[float, float]


def curves_html(lines: Sequence[Mapping[str, object]]) -> str:
    """One small plot for each number that the lines hold, against clips seen; "" when there are none."""
    names: list[str] = []
    for line in lines:
        names += [name for name in line if name not in names and name not in HORIZONTAL]
    plots = [_plot(name, points) for name in names if len(points := _points(lines, name)) >= 2]
    return f'<div class="plots">{"".join(plots)}</div>' if plots else ""


def _points(lines: Sequence[Mapping[str, object]], name: str) -> list[Point]:
    points: list[Point] = []
    for number, line in enumerate(lines):
        y, x = line.get(name), line.get("clips", line.get("step", number))
        if _is_number(x) and _is_number(y):
            points.append((float(str(x)), float(str(y))))
    return points


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _plot(name: str, points: list[Point]) -> str:
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x_low, x_high, y_low, y_high = min(xs), max(xs), min(ys), max(ys)
    wide = (PLOT_WIDTH - LEFT - RIGHT) / ((x_high - x_low) or 1)
    floor = PLOT_HEIGHT - BOTTOM
    tall = (floor - TOP) / ((y_high - y_low) or 1)
    path = " ".join(f"{LEFT + (x - x_low) * wide:.1f},{floor - (y - y_low) * tall:.1f}" for x, y in points)
    line = f'<polyline points="{path}"/>'
    return plot(name, line, top=figure(y_high), bottom=figure(y_low), right=f"{x_high:,.0f} clips")
