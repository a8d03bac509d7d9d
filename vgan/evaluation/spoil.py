"""Real clips spoilt in one known way each: a metric that does not get worse on them is blind to it.

Shapes: N clips, T frames, H height, W width, C colours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
Spoil = Callable[[UInt8, np.random.Generator], UInt8]


def frozen(clips_NTHWC: UInt8, rng: np.random.Generator) -> UInt8:
    """Each clip stands still on one of its frames."""
    n, t = clips_NTHWC.shape[:2]
    chosen = np.asarray(rng.integers(t, size=n), np.int64)
    return np.repeat(clips_NTHWC[np.arange(n), chosen][:, None], t, axis=1)


def shuffled(clips_NTHWC: UInt8, rng: np.random.Generator) -> UInt8:
    """The frames of each clip in a random order that is not the true one."""
    n, t = clips_NTHWC.shape[:2]
    orders = np.stack([_other_order(t, rng) for _ in range(n)])
    return clips_NTHWC[np.arange(n)[:, None], orders]


def _other_order(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    while True:
        order = rng.permutation(count)
        if (order != np.arange(count)).any():
            return order


def noise(clips_NTHWC: UInt8, rng: np.random.Generator) -> UInt8:
    """Gaussian noise of standard deviation 25 (of 255) on every pixel."""
    return np.stack([_noisy(clip, rng) for clip in clips_NTHWC])


def _noisy(clip_THWC: UInt8, rng: np.random.Generator) -> UInt8:
    spoilt = clip_THWC + rng.standard_normal(clip_THWC.shape, dtype=np.float32) * 25
    return np.clip(np.rint(spoilt), 0, 255).astype(np.uint8)


def blurred(clips_NTHWC: UInt8, rng: np.random.Generator) -> UInt8:
    """Each frame averaged over squares of 4 x 4 pixels (2 x 2 below 32 pixels)."""
    side = 4 if min(clips_NTHWC.shape[2:4]) >= 32 else 2
    h, w = (size // side * side for size in clips_NTHWC.shape[2:4])
    n, t = clips_NTHWC.shape[:2]
    result = clips_NTHWC.copy()
    squares = clips_NTHWC[:, :, :h, :w].reshape(n, t, h // side, side, w // side, side, 3)
    means = np.rint(squares.mean((3, 5), keepdims=True, dtype=np.float32)).astype(np.uint8)
    result[:, :, :h, :w] = np.broadcast_to(means, squares.shape).reshape(n, t, h, w, 3)
    return result


CONTROLS: dict[str, Spoil] = {"frozen": frozen, "shuffled": shuffled, "noise": noise, "blurred": blurred}
