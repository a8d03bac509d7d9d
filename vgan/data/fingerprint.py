"""A small grey picture of a whole video, by which copies are found that are not equal byte for byte.

Shape suffixes: N frames of a video, C = 3 colours (RGB, uint8), H height, W width.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Uint8 = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

THUMB = 16  # height and width of a frame's thumbnail
TIMES = 8  # stretches of the video, each averaged
CELLS = 8  # height and width of the picture of a stretch
# Which colour each of a thumbnail pixel's 4 x 4 samples takes: grey = (R + 2 G + B) / 4, the same when mirrored.
_COLOURS = ((0, 1, 1, 0), (1, 2, 2, 1), (1, 0, 0, 1), (2, 1, 1, 2))


@lru_cache(maxsize=8)
def _sample_places(height: int, width: int) -> Indices:
    """Places in a flat CHW picture, [16 samples, 256 thumbnail pixels]: a few of its pixels stand for all."""
    steps = np.arange(THUMB * 4)
    rows = ((steps + 0.5) * height / len(steps)).astype(np.int64)
    columns = ((steps + 0.5) * width / len(steps)).astype(np.int64)
    columns = np.where(steps < len(steps) // 2, columns, width - 1 - columns[::-1])
    colours = np.tile(np.asarray(_COLOURS), (THUMB, THUMB))
    places = (colours * height + rows[:, None]) * width + columns
    return places.reshape(THUMB, 4, THUMB, 4).transpose(1, 3, 0, 2).reshape(16, THUMB * THUMB).copy()


def thumb_of(pixels_CHW: Uint8) -> Uint8:
    """A frame as uint8 [16, 16], grey: some 10 microseconds, whatever the frame's size."""
    _, height, width = pixels_CHW.shape
    samples = pixels_CHW.reshape(-1).take(_sample_places(height, width))
    return (samples.sum(axis=0, dtype=np.uint16) >> 4).astype(np.uint8).reshape(THUMB, THUMB)


def fingerprint_of(thumbs_NHW: Uint8, cells: Sequence[int] | Indices) -> str:
    """The fingerprint of a video as text.

    Args:
        thumbs_NHW: `thumb_of` each chosen frame, uint8 [N, 16, 16], at least one.
        cells: place in time of each frame, in frame intervals, rising.
    """
    volume = _average_stretches(thumbs_NHW, np.asarray(cells, np.int64))
    return base64.b64encode(np.rint(volume).astype(np.uint8).tobytes()).decode()


def _average_stretches(thumbs_NHW: Uint8, cells: Indices) -> Floats:
    """Mean picture of each stretch, float32 [TIMES, CELLS, CELLS]; a frame lasts until the next one."""
    edges = np.append(cells, cells[-1] + 1).astype(np.float64) - cells[0]
    bounds = np.arange(TIMES + 1, dtype=np.float64) * (edges[-1] / TIMES)
    volume = np.empty((TIMES, CELLS, CELLS), np.float32)
    size = THUMB // CELLS
    for time, (start, end) in enumerate(pairwise(bounds)):
        first, last = np.searchsorted(edges, start, "right") - 1, np.searchsorted(edges, end, "left")
        inside = np.clip(edges[first : last + 1], start, end)
        weights = (np.diff(inside) / (end - start)).astype(np.float32)
        mean_HW = np.tensordot(weights, thumbs_NHW[first:last].astype(np.float32), 1)
        volume[time] = mean_HW.reshape(CELLS, size, CELLS, size).mean(axis=(1, 3))
    return volume
