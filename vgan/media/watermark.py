"""An imperceptible mark in the pixels of a clip: "made by vgan", and no more.

A public key gives each low spatial frequency of the clip's mean luminance a sign. `embed` moves those frequencies
that are weak in the clip to the side that the key asks for; `detect` asks whether weak frequencies lie on the
key's side more often than chance allows. Frequencies count per picture, not per pixel, so that a resized copy
gives the same ones, and the mean over time averages a codec's errors.

This module travels in the packaged model: it needs numpy and the standard library only.
Shape suffixes: T frames, H height, W width, C = 3 colours (RGB, uint8), U vertical and V horizontal frequencies.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import numpy.typing as npt

Uint8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]

KEY = b"vgan watermark 1"
HIGHEST = 20  # half periods across the picture
LOWEST = 2.0
AMPLITUDE = 0.25  # grey levels (root mean square of one frequency)
WIDTH = 0.15  # of the detector: a stronger frequency tells less
FLOOR = 0.02
PSNR = 40.0
ROUNDS = 6
THRESHOLD = 4.0
_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


@cache
def _signs() -> Float:
    """The key: +1 or -1 for each frequency [U, V], 0 for those that are not used."""
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(KEY).digest(HIGHEST * HIGHEST // 8 + 1), np.uint8))
    signs = bits[: HIGHEST * HIGHEST].reshape(HIGHEST, HIGHEST).astype(np.float32) * 2 - 1
    radius = np.hypot(*np.mgrid[:HIGHEST, :HIGHEST])
    return np.where((radius >= LOWEST) & (radius < HIGHEST), signs, 0).astype(np.float32)


@cache
def _waves(size: int) -> Float:
    """Cosines [frequency, pixel] of unit power; those that `size` pixels cannot show are 0."""
    places = (np.arange(size) + 0.5) / size
    waves = np.sqrt(2) * np.cos(np.pi * np.arange(HIGHEST)[:, None] * places)
    waves[0] = 1
    waves[np.arange(HIGHEST) >= size] = 0
    return waves.astype(np.float32)


def luminance(frames_THWC: Uint8) -> Float:
    """Mean over time of the luminance (BT.709, of the coded values): float32 [H, W]."""
    return frames_THWC.mean(0, dtype=np.float32) @ _LUMA


def spectrum(luminance_HW: Float) -> Float:
    """Strength in grey levels of each frequency: float32 [U, V]."""
    height, width = luminance_HW.shape
    return _waves(height) @ luminance_HW @ _waves(width).T / (height * width)


def score(spectrum_UV: Float) -> float:
    """How far the weak frequencies lie on the key's side, in standard deviations of chance."""
    told = spectrum_UV * WIDTH / (spectrum_UV**2 + WIDTH**2) * np.abs(_signs())
    spread = np.sqrt((told**2).sum()) + FLOOR
    return float((told * _signs()).sum() / spread)


def detect(frames_THWC: Uint8) -> float:
    """Score of a clip: uint8 [T, H, W, 3]; marked above THRESHOLD."""
    return score(spectrum(luminance(frames_THWC)))


def embed(frames_THWC: Uint8) -> Uint8:
    """Mark a clip: uint8 [T, H, W, 3] of the same shape; equal frames give equal ones."""
    signs, before = _signs(), spectrum(luminance(frames_THWC))
    height, width = frames_THWC.shape[1:3]
    amplitude = AMPLITUDE
    while True:
        chosen = (np.abs(before) < amplitude) | (before * signs > 0)
        wanted = np.where(chosen & (signs != 0) & (before * signs < amplitude), signs * amplitude, np.nan)
        added = np.zeros_like(signs)
        marked = frames_THWC
        for _ in range(ROUNDS):
            missing = np.nan_to_num(wanted - spectrum(luminance(marked)))
            added = added + missing
            pattern_HW = _waves(height).T @ added @ _waves(width)
            moved = np.rint(frames_THWC.astype(np.float32) + pattern_HW[..., None])
            marked = moved.clip(0, 255).astype(np.uint8)
        error = float(np.square(marked.astype(np.float32) - frames_THWC).mean())
        if error <= 255**2 / 10 ** (PSNR / 10):
            return marked
        amplitude *= 0.9
