"""A small picture of a whole video, by which copies are found that are not equal byte for byte.

A frame's thumbnail is a mosaic of colours, as of a camera's sensor; a fingerprint is the grey of 8 stretches of the
video in 8 x 8 cells, and the colour of the whole in 4 x 4: 544 bytes.

Two videos look the same when three similarities are high: of the whole grey volume, of what changes in it, and of
the colours. One is not enough: clips of other people in the same scenery agree in the whole, blobs of
another colour on the same way agree in the grey. Each similarity is 2ab / (aa + bb) with the energy of some noise
added above and below, so that what is hardly there counts as equal and a brighter copy as another one.

Measured at 64 px and 8 frames per second (whole / motion / colour; the lowest of copies need not be one pair):
* copies of 18 real videos (crf 35, MPEG-4, VP8, half the size, 15 frames per second, mirrored, mirrored at crf 35):
  at least .988 / .58 / .97; of 64 px clips before one scenery: .995 / .73 / .84, at 15 frames per second .983;
* different videos that pass the other two limits: real ones .51, one scenery .963, 600 blobs on black .980.
Copies of fast small things (blobs) can be missed at crf 35 (.958), and at another frame rate, which shows them
elsewhere (.84).

Shape suffixes: N frames of a video, P pairs, F = 544 values of a fingerprint, C = 3 colours (RGB, uint8), H height,
W width.
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
SAME_WHOLE, SAME_MOTION, SAME_COLOUR = 0.985, 0.5, 0.7  # limits of the three similarities
_NOISE = (2.0, 1.0, 2.0)  # levels of each that say nothing
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
    bounds: list[float] = (np.arange(TIMES + 1) * (float(edges[-1]) / TIMES)).tolist()
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
    shown = [np.equal(_MOSAIC, colour).astype(np.float64) for colour in range(3)]
    red, green, blue = ((blocks * mask[:, None]).sum(axis=(1, 3)) / mask.sum() for mask in shown)
    return np.stack([red - green, blue - green])


def values_of(fingerprint: str) -> Uint8:
    """The bytes of a fingerprint, uint8 [544]; of one that is not, those of a black video."""
    try:
        values = np.frombuffer(base64.b64decode(fingerprint, validate=True), np.uint8)
    except ValueError:
        values = np.empty(0, np.uint8)
    return values if len(values) == BYTES else np.zeros(BYTES, np.uint8)


def mirrored(values_NF: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The fingerprints of mirrored copies; also of anything else that lies in the same places."""
    greys = values_NF[:, :GREYS].reshape(-1, TIMES, CELLS, CELLS)[..., ::-1].reshape(-1, GREYS)
    colours = values_NF[:, GREYS:].reshape(-1, 2, BLOCKS, BLOCKS)[..., ::-1].reshape(-1, BYTES - GREYS)
    return np.concatenate([greys, colours], axis=1)


def look_the_same(first_PF: Uint8, second_PF: Uint8) -> npt.NDArray[np.bool_]:
    """Whether the videos of each pair are copies, as they are or one of them mirrored: bool [P]."""
    first = _parts(first_PF)
    return _same(first, _parts(second_PF)) | _same(first, _parts(mirrored(second_PF)))


def _parts(values_PF: npt.NDArray[np.generic]) -> list[npt.NDArray[np.float32]]:
    """The whole, the motion and the colours, each without its mean where a mean says nothing."""
    values = values_PF.astype(np.float32)
    greys = values[:, :GREYS]
    stretches = greys.reshape(-1, TIMES, CELLS * CELLS)
    motion = (stretches - stretches.mean(axis=1, keepdims=True)).reshape(-1, GREYS)
    return [greys - greys.mean(axis=1, keepdims=True), motion, (values[:, GREYS:] - 128) * 2]


def _same(first: list[npt.NDArray[np.float32]], second: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.bool_]:
    whole, motion, colour = (_similarity(*parts) for parts in zip(first, second, _NOISE, strict=True))
    return (whole >= SAME_WHOLE) & (motion >= SAME_MOTION) & (colour >= SAME_COLOUR)


def _similarity(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], noise: float
) -> npt.NDArray[np.float32]:
    energy = np.float32(noise * noise * first.shape[1])
    both = np.einsum("pf,pf->p", first, second)
    each = np.einsum("pf,pf->p", first, first) + np.einsum("pf,pf->p", second, second)
    return (2 * both + energy) / (each + energy)
