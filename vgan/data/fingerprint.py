"""A small picture of a whole video, by which copies are found that are not equal byte for byte.

A frame's thumbnail is a mosaic of colours, as of a camera's sensor; a fingerprint is the grey of 8 stretches of the
video in 8 x 8 cells, and the colour of the whole in 4 x 4: 544 bytes.

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
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

THUMB = 16  # height and width of a frame's thumbnail
TIMES = 8  # stretches of the video, each averaged
CELLS = 8  # height and width of the grey picture of a stretch
BLOCKS = 4  # height and width of the picture of the colours
GREYS = TIMES * CELLS * CELLS
BYTES = GREYS + 2 * BLOCKS * BLOCKS  # of a fingerprint
# The colour that each pixel of 4 x 4 in a thumbnail shows: the same when mirrored, and (R + 2 G + B) / 4 in each 2 x 2.
_MOSAIC = np.asarray(((0, 1, 1, 0), (1, 2, 2, 1), (0, 1, 1, 0), (1, 2, 2, 1)))
_SAMPLES = 4  # rows and columns of a frame's pixels that stand for those below one of a thumbnail


@lru_cache(maxsize=8)
def _sample_places(height: int, width: int) -> Indices:
    """Places in a flat CHW picture, [16 samples, 256 thumbnail pixels]."""
    steps = np.arange(THUMB * _SAMPLES)
    rows = ((steps + 0.5) * height / len(steps)).astype(np.int64)
    columns = ((steps + 0.5) * width / len(steps)).astype(np.int64)
    columns = np.where(steps < len(steps) // 2, columns, width - 1 - columns[::-1])
    colours = np.kron(np.tile(_MOSAIC, (THUMB // 4, THUMB // 4)), np.ones((_SAMPLES, _SAMPLES), np.int64))
    places = (colours * height + rows[:, None]) * width + columns
    shape = (THUMB, _SAMPLES, THUMB, _SAMPLES)
    return places.reshape(shape).transpose(1, 3, 0, 2).reshape(_SAMPLES * _SAMPLES, THUMB * THUMB).copy()


def thumb_of(pixels_CHW: Uint8) -> Uint8:
    """The thumbnail of a frame, uint8 [16, 16]: some 8 microseconds, whatever the frame's size."""
    _, height, width = pixels_CHW.shape
    samples = pixels_CHW.reshape(-1).take(_sample_places(height, width))
    return (samples.sum(axis=0, dtype=np.uint16) >> 4).astype(np.uint8).reshape(THUMB, THUMB)


def fingerprint_of(thumbs_NHW: Uint8, cells: Sequence[int] | Indices) -> str:
    """The fingerprint of a video as text.

    Args:
        thumbs_NHW: `thumb_of` each chosen frame, uint8 [N, 16, 16], at least one.
        cells: place in time of each frame, in frame intervals, rising.
    """
    stretches = _average_stretches(thumbs_NHW, np.asarray(cells, np.int64))
    size = THUMB // CELLS
    greys = stretches.reshape(TIMES, CELLS, size, CELLS, size).mean(axis=(2, 4))
    colours = 128 + _colours(stretches.mean(axis=0)) / 2
    values = np.concatenate([greys.ravel(), colours.ravel()])
    return base64.b64encode(np.rint(values).astype(np.uint8).tobytes()).decode()


def _average_stretches(thumbs_NHW: Uint8, cells: Indices) -> Floats:
    """Mean thumbnail of each stretch, float64 [TIMES, 16, 16]; a frame lasts until the next one."""
    edges = np.append(cells, cells[-1] + 1).astype(np.float64) - cells[0]
    bounds = np.arange(TIMES + 1, dtype=np.float64) * (edges[-1] / TIMES)
    means = np.empty((TIMES, THUMB, THUMB), np.float64)
    for time, (start, end) in enumerate(pairwise(bounds)):
        first = int(np.searchsorted(edges, start, "right")) - 1
        last = int(np.searchsorted(edges, end, "left"))
        weights = np.diff(np.clip(edges[first : last + 1], start, end)) / (end - start)
        means[time] = np.tensordot(weights, thumbs_NHW[first:last].astype(np.float64), 1)
    return means


def _colours(mean_HW: Floats) -> Floats:
    """R - G and B - G of each block, -255 to 255, float64 [2, BLOCKS, BLOCKS]."""
    blocks = mean_HW.reshape(BLOCKS, 4, BLOCKS, 4)
    shown = [(_MOSAIC == colour).astype(np.float64) for colour in range(3)]
    red, green, blue = ((blocks * mask[:, None]).sum(axis=(1, 3)) / mask.sum() for mask in shown)
    return np.stack([red - green, blue - green])


def values_of(fingerprint: str) -> Uint8:
    """The bytes of a fingerprint, uint8 [544]; of one that is not, those of a black video."""
    try:
        values = np.frombuffer(base64.b64decode(fingerprint, validate=True), np.uint8)
    except ValueError:
        values = np.empty(0, np.uint8)
    return values if len(values) == BYTES else np.zeros(BYTES, np.uint8)
