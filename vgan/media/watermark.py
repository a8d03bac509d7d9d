"""An imperceptible mark in the pixels of a clip: "made by vgan", and no more.

A public key gives each of about 140 low spatial frequencies of the clip's mean luminance a sign. `embed` moves those
that are weak in the clip to the side that the key asks for; strong ones, which would cost too much, stay. A
`Detector` asks whether weak frequencies lie on the key's side more often than chance allows. This is spread
spectrum with a detector that leaves out what the picture itself dominates, and an embedder that knows which that is
(Cox, Miller, Bloom: Digital Watermarking, "informed embedding").

Frequencies count per picture, not per pixel, so a resized copy has the same ones; the mean over time averages a
codec's errors. What was cropped, mirrored or turned has others, and is not found.

For a key drawn at random the score of an unmarked clip, whatever it shows, exceeds t with a chance of at most
exp(-t^2 / 2) for each of the three widths (Hoeffding), and in truth nearly that of a normal variable;
benchmarks/watermark.py measures both rates.

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
THRESHOLD = 3.0  # about 3 unmarked clips in 1,000 score as much
LOWEST, HIGHEST = 2, 14  # half periods across the picture: lower ones are strong in any, higher ones do not survive
WIDTHS = (0.1, 0.2, 0.3)  # grey levels up to which a frequency counts as weak; the best of them is taken
NOTHING = 0.02  # grey levels: a picture whose frequencies are all weaker holds no mark
REACH = 1.5  # a frequency is moved when it lies at most so many amplitudes on the wrong side
ERROR, ERROR_ON_BLACK = 9.0, 4.0  # most mean square error: 38.6 dB and 42.1 dB, for changes show sooner on black
LARGE = 128.0  # pixels a side from which the error falls: a codec spoils the frequencies of large pictures less
CHANGE, CHANGE_ON_BLACK = 6.0, 4.5  # most change of a pixel
BLACK = 16.0  # darkest luminance that is not
FRAMES = 6  # that show what clipping at black and white makes of a pattern
START, TRIES, ROUNDS = 0.2, 3, 4  # the first amplitude, in grey levels
_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # BT.709, of coded values


@cache
def _signs() -> Float:
    """The key: +1 or -1 for each frequency [U, V], 0 for those that are not used."""
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(KEY).digest(HIGHEST * HIGHEST // 8 + 1), np.uint8))
    signs = bits[: HIGHEST * HIGHEST].reshape(HIGHEST, HIGHEST) * 2.0 - 1.0
    radius = np.hypot(*np.mgrid[:HIGHEST, :HIGHEST])
    return np.where((radius >= LOWEST) & (radius < HIGHEST), signs, 0.0).astype(np.float32)


@cache
def _waves(size: int) -> Float:
    """Cosines [frequency, pixel] of unit power; those that `size` pixels cannot show are 0."""
    waves = np.sqrt(2) * np.cos(np.pi * np.arange(HIGHEST)[:, None] * (np.arange(size) + 0.5) / size)
    waves[0] = 1
    waves[size:] = 0
    return waves.astype(np.float32)


def _spectrum(luminance_HW: Float) -> Float:
    """Strength of each frequency in grey levels (root mean square): [U, V]."""
    height, width = luminance_HW.shape
    return (_waves(height) @ luminance_HW @ _waves(width).T / (height * width)).astype(np.float32)


def _picture(spectrum_UV: Float, height: int, width: int) -> Float:
    """The luminance [H, W] that has these frequencies."""
    return (_waves(height).T @ spectrum_UV @ _waves(width)).astype(np.float32)


class Detector:
    """Looks for the mark in the frames of one clip, given one after another."""

    def __init__(self) -> None:
        self.frames = 0
        self._sum_HW: npt.NDArray[np.float64] | None = None

    def add(self, frame_HWC: Uint8) -> None:
        """One more frame, uint8 [H, W, 3], all of one size."""
        luminance_HW = (frame_HWC.astype(np.float32) @ _LUMA).astype(np.float64)
        self._sum_HW = luminance_HW if self._sum_HW is None else self._sum_HW + luminance_HW
        self.frames += 1

    def score(self) -> float:
        """How far the weak frequencies lie on the key's side, in standard deviations of chance; 0 without frames."""
        if self._sum_HW is None:
            return 0.0
        found = _spectrum((self._sum_HW / self.frames).astype(np.float32)) * _signs()
        return max(_score(found, width) for width in WIDTHS)


def _score(found_UV: Float, width: float) -> float:
    """Score of frequencies that are positive on the key's side; those far beyond `width` count nothing."""
    told = found_UV * np.exp(-np.square(found_UV / width) / 2)
    return float(told.sum() / np.sqrt(np.square(told).sum() + NOTHING**2))


def detect(frames_THWC: Uint8) -> float:
    """Score of a clip, uint8 [T, H, W, 3], as `Detector.score`; above THRESHOLD it is marked."""
    detector = Detector()
    for frame_HWC in frames_THWC:
        detector.add(frame_HWC)
    return detector.score()


def embed(frames_THWC: Uint8) -> Uint8:
    """Mark a clip.

    Args:
        frames_THWC: uint8 [T, H, W, 3]; not altered.

    Returns:
        uint8 [T, H, W, 3]: one faint pattern is added to all frames; equal frames give equal ones.
    """
    pattern_HW = _pattern(frames_THWC)[..., None]
    marked_THWC = np.empty_like(frames_THWC)
    for frame_HWC, marked_HWC in zip(frames_THWC, marked_THWC, strict=True):
        marked_HWC[...] = _added(frame_HWC, pattern_HW)
    return marked_THWC


def _added(frames: Uint8 | Float, pattern_HW1: Float) -> Float:
    """Frames with the pattern in all colours, as they will be stored."""
    return np.rint(frames + pattern_HW1).clip(0, 255)


def _pattern(frames_THWC: Uint8) -> Float:
    """What is added to the frames [H, W]: as strong as the error that is allowed."""
    num = len(frames_THWC)
    places = [place * (num - 1) // max(1, min(num, FRAMES) - 1) for place in range(min(num, FRAMES))]
    clip = _Clip(frames_THWC.mean(0, dtype=np.float32) @ _LUMA, frames_THWC[places].astype(np.float32))
    amplitude = START
    pattern_HW, error = clip.pattern(amplitude)
    for _ in range(TRIES):
        amplitude *= float(np.clip(np.sqrt(clip.most_error / max(error, 1e-6)), 0.5, 2)) ** 0.8
        pattern_HW, error = clip.pattern(amplitude)
    return pattern_HW * min(1.0, float(np.sqrt(clip.most_error / max(error, 1e-6))))


class _Clip:
    """What the embedder knows of a clip: its mean luminance, and some frames in which pixels are clipped."""

    def __init__(self, mean_HW: Float, shown_THWC: Float) -> None:
        self.before_UV = _spectrum(mean_HW)
        self.shown_THWC = shown_THWC
        self.shown_before_UV = self._shown_spectrum(shown_THWC)
        black_HW = mean_HW < BLACK
        self.most_change_HW = np.where(black_HW, CHANGE_ON_BLACK, CHANGE).astype(np.float32)
        self.most_error = ERROR + (ERROR_ON_BLACK - ERROR) * float(black_HW.mean())
        self.most_error *= min(1.0, LARGE / float(np.sqrt(mean_HW.size)))

    @staticmethod
    def _shown_spectrum(shown_THWC: Float) -> Float:
        return _spectrum(shown_THWC.mean(0) @ _LUMA)

    def pattern(self, amplitude: float) -> tuple[Float, float]:
        """A pattern [H, W] that brings weak frequencies to `amplitude`, and the mean square error that it makes.

        Black and white pixels take half of it only, so it is made stronger until what they take suffices.
        """
        on_side_UV = self.before_UV * _signs()
        moved = (on_side_UV > -REACH * amplitude) & (on_side_UV < amplitude) & (_signs() != 0)
        wanted_UV = np.where(moved, _signs() * amplitude - self.before_UV, 0).astype(np.float32)
        added_UV, got_UV = np.zeros_like(wanted_UV), np.zeros_like(wanted_UV)
        pattern_HW = np.zeros_like(self.most_change_HW)
        marked_THWC = self.shown_THWC
        for _ in range(ROUNDS):
            added_UV = added_UV + np.where(moved, wanted_UV - got_UV, 0)
            pattern_HW = _picture(added_UV, *pattern_HW.shape).clip(-self.most_change_HW, self.most_change_HW)
            marked_THWC = _added(self.shown_THWC, pattern_HW[..., None])
            got_UV = self._shown_spectrum(marked_THWC) - self.shown_before_UV
        return pattern_HW, float(np.square(marked_THWC - self.shown_THWC).mean())
