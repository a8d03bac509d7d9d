"""Clips of two generators in one film: of equal seeds and classes, the first's on the left of each pair.

Shapes: N clips, T frames, H height, W width, C = 3 colours (RGB, uint8).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..media.encode import GUTTER

UInt8 = NDArray[np.uint8]
Classes = list[tuple[int | None, int | None]]

SMALLEST = 64  # pixels: clips smaller than that are enlarged by a whole factor
INSIDE, BETWEEN = 2, 10  # pixels between the clips of a pair, and between pairs
LINE = 14  # pixels of a line of the heading
INK = (235, 235, 235)


def shared_classes(first: Sequence[str], second: Sequence[str]) -> Classes:
    """Class indices in the one and the other that pairs take in turn, by the classes' names.

    A generator without classes goes with each class of the other.

    Raises:
        ConfigError: both have classes, and none in common.
    """
    if not first or not second:
        longest = max(len(first), len(second), 1)
        return [(i if first else None, i if second else None) for i in range(longest)]
    if shared := [name for name in first if name in second]:
        return [(first.index(name), second.index(name)) for name in shared]
    raise ConfigError(
        f"the two models have no class in common: {', '.join(first)}; {', '.join(second)}.",
        hint="Compare models that make the same things.",
    )


def matched(first: Sequence[UInt8], second: Sequence[UInt8], rates: tuple[float, float]) -> tuple[UInt8, float]:
    """Clips of both at one size, length and speed.

    Small ones are enlarged by a whole factor and framed in grey; frames are repeated up to the larger rate; the
    shorter clips end on their last frame.

    Args:
        first, second: clips [T, H, W, 3], all of one generator of equal shape.
        rates: frames per second of both.

    Returns:
        uint8 [N, 2, T, H, W, 3], and its frames per second.
    """
    rate = max(rates)
    sides = [np.stack(clips) for clips in (first, second)]
    count = max(round(clips.shape[1] * rate / own) for clips, own in zip(sides, rates, strict=True))
    timed = [_retimed(clips, own, rate, count) for clips, own in zip(sides, rates, strict=True)]
    target = max(SMALLEST, *(max(clips.shape[2:4]) for clips in timed))
    grown = [_enlarged(clips, target) for clips in timed]
    height, width = (max(clips.shape[axis] for clips in grown) for axis in (2, 3))
    return np.stack([_framed(clips, height, width) for clips in grown], axis=1), rate


def _retimed(clips_NTHWC: UInt8, own: float, rate: float, count: int) -> UInt8:
    places = np.floor(np.arange(count) * own / rate + 1e-9).astype(np.int64)
    return clips_NTHWC[:, np.minimum(places, clips_NTHWC.shape[1] - 1)]


def _enlarged(clips_NTHWC: UInt8, target: int) -> UInt8:
    zoom = max(1, target // max(clips_NTHWC.shape[2:4]))
    return clips_NTHWC.repeat(zoom, axis=2).repeat(zoom, axis=3)


def _framed(clips_NTHWC: UInt8, height: int, width: int) -> UInt8:
    spare = height - clips_NTHWC.shape[2], width - clips_NTHWC.shape[3]
    around = [(gap // 2, gap - gap // 2) for gap in spare]
    return np.pad(clips_NTHWC, ((0, 0), (0, 0), *around, (0, 0)), constant_values=GUTTER)


def film(pairs_NSTHWC: UInt8, names: tuple[str, str]) -> UInt8:
    """All pairs at once under a heading that says which side is which: uint8 [T, H, W, 3], both sides even."""
    columns = max(1, round((len(pairs_NSTHWC) / 2) ** 0.5))
    first, second = pairs_NSTHWC[:, 0], pairs_NSTHWC[:, 1]
    gap = np.full((*first.shape[:3], INSIDE, 3), GUTTER, np.uint8)
    pairs_NTHWC = np.concatenate([first, gap, second], axis=3)
    pairs_NTHWC = np.pad(pairs_NTHWC, ((0, 0), (0, 0), (0, BETWEEN), (0, BETWEEN), (0, 0)), constant_values=GUTTER)
    pairs_NTHWC = np.pad(pairs_NTHWC, ((0, -len(pairs_NTHWC) % columns), *[(0, 0)] * 4), constant_values=GUTTER)
    n, frames, height, width, _ = pairs_NTHWC.shape
    grid = pairs_NTHWC.reshape(n // columns, columns, frames, height, width, 3).transpose(2, 0, 3, 1, 4, 5)
    frames_THWC = grid.reshape(frames, n // columns * height, columns * width, 3)
    top = heading(names, frames_THWC.shape[2])
    frames_THWC = np.concatenate([np.broadcast_to(top, (frames, *top.shape)), frames_THWC], axis=1)
    odd = frames_THWC.shape[1] % 2, frames_THWC.shape[2] % 2
    return np.pad(frames_THWC, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)), constant_values=GUTTER)


def heading(names: tuple[str, str], width: int) -> UInt8:
    """Two lines of text: uint8 [H, width, 3]; what is longer than the picture is wide is cut off."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (width, 2 * LINE + 2), (GUTTER, GUTTER, GUTTER))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default_imagefont()
    for row, (side, name) in enumerate(zip(("left ", "right"), names, strict=True)):
        # The small built-in font, which is on every machine, knows these characters alone.
        plain = name.encode("ascii", "replace").decode()
        pen.text((2, 2 + row * LINE), f"{side} {plain}", fill=INK, font=font)
    return np.asarray(picture, np.uint8)
