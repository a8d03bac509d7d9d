"""Where the clips of a video lie: windows of consecutive frames without a cut or a hole inside, with something on them.

All is judged by a few pixels of each frame, at most 32 x 32 of each colour, whose sums are kept as whole numbers:
equal frames give equal windows and figures on every machine.

Shape suffixes: N frames of a video, C = 3 colours (RGB, uint8), H height, W width.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ...config import IngestConfig

Uint8 = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int64]

SAMPLED = 32  # rows and columns of a frame that are looked at, at most
BRIGHT = 32  # a level above it is no black, 0 to 255
BLACK_SHARE = 0.002  # of the pixels that are bright in any colour; below it a frame or a clip is black
SHIFT_FLOOR = 4.0  # of the difference to the frame before, less the next one: below it colours are not compared
SHIFT_WEIGHT = 2.5  # how far a cut score is believed for each point by which the colours of two frames differ
DIM_CONTRAST = 35.0  # levels (standard deviation): in a dimmer scene a change is also judged beside its contrast
LEAST_CONTRAST = 8.0  # levels: below it what changes is noise
DIM_WEIGHT = 28.0  # cut score of a change, in dim scenes, that is as large as the contrast


def _numbers() -> array[int]:
    return array("q")


@dataclass
class Timeline:
    """What is kept of every chosen frame beside its pixels; grows by some 60 bytes a frame."""

    cells: array[int] = field(default_factory=_numbers)  # place in time, in frame intervals
    seconds: array[float] = field(default_factory=lambda: array("d"))  # presentation time
    sampled: int = 1  # values looked at in each frame, all colours together
    changes: array[int] = field(default_factory=_numbers)  # sum of |value - the same in the frame before|
    shifts: array[float] = field(default_factory=lambda: array("d"))  # how much the colours differ from it, 0 to 100
    levels: array[int] = field(default_factory=_numbers)  # sum of the values
    squares: array[int] = field(default_factory=_numbers)  # sum of their squares
    bright: array[int] = field(default_factory=_numbers)  # pixels that are bright in any colour
    _last_1CHW: Uint8 | None = None

    def extend(self, cells: Sequence[int], seconds: Sequence[float], frames_NCHW: Uint8) -> None:
        """Append frames, at least one; many at once cost less."""
        height, width = frames_NCHW.shape[2:]
        down, across = -(-height // SAMPLED), -(-width // SAMPLED)
        sample_NCHW = np.ascontiguousarray(frames_NCHW[:, :, down // 2 :: down, across // 2 :: across])
        self.sampled = sample_NCHW[0].size
        last_1CHW = sample_NCHW[:1] if self._last_1CHW is None else self._last_1CHW
        before_NCHW = np.concatenate([last_1CHW, sample_NCHW[:-1]])
        # |a - b| without a wider type: the larger less the smaller.
        change_NCHW = np.maximum(sample_NCHW, before_NCHW) - np.minimum(sample_NCHW, before_NCHW)
        changes = _sums(change_NCHW)
        self.cells.extend(cells)
        self.seconds.extend(seconds)
        self.changes.extend(changes.tolist())
        falls = changes - np.append(changes[1:], 0)
        self.shifts.extend(
            _shift(one, other) if fall >= SHIFT_FLOOR * 2.55 * self.sampled else 0.0
            for one, other, fall in zip(sample_NCHW, before_NCHW, falls.tolist(), strict=True)
        )
        self.levels.extend(_sums(sample_NCHW).tolist())
        self.squares.extend(_sums(np.square(sample_NCHW, dtype=np.uint16)).tolist())
        self.bright.extend(np.count_nonzero(sample_NCHW.max(axis=1) > BRIGHT, axis=(1, 2)).tolist())
        self._last_1CHW = sample_NCHW[-1:].copy()

    @property
    def differences(self) -> npt.NDArray[np.float64]:
        """Mean |this frame - the one before|, 0 to 100, float64 [N]."""
        return np.array(self.changes, np.float64) / (2.55 * self.sampled)

    def cut_scores(self) -> npt.NDArray[np.float64]:
        """How much each frame looks like the first of another scene, 0 to 100, float64 [N].

        Like ffmpeg's scdet: how much more the frame differs from the one before than that one from its own,
        since fast motion is high in both and a cut in one. At few frames a second fast motion before a cut would
        hide it, so the frame after it counts too, but only as far as the colours changed: where motion stops they do
        not. The first frame has none before it and the second is judged by its colours too.

        A cut between dim scenes changes few levels. There a change counts beside the contrast of the two frames,
        where it stands alone: both the change before it and the one after it are smaller by that much.
        """
        m = self.differences
        if len(m) < 2:
            return np.zeros(len(m))
        before, after = np.append(0.0, m[:-1]), np.append(m[1:], m[-2])
        before[1] = after[1]
        after[1] = 0.0
        by_colours = np.minimum(m - after, SHIFT_WEIGHT * np.array(self.shifts))
        scores = np.maximum(np.minimum(m, m - before), by_colours)
        contrast = self._contrast()
        alone = 2.55 * np.minimum(m - before, m - after) / np.maximum(contrast, LEAST_CONTRAST)
        scores = np.maximum(scores, np.where(contrast < DIM_CONTRAST, DIM_WEIGHT * alone, 0.0))
        scores[0] = 0.0
        return np.maximum(scores, 0.0)

    def _contrast(self) -> npt.NDArray[np.float64]:
        """Standard deviation of each frame's levels or, if larger, of those of the one before, float64 [N]."""
        mean, square = (np.array(sums, np.float64) / self.sampled for sums in (self.levels, self.squares))
        own = np.sqrt(np.maximum(square - mean * mean, 0.0))
        return np.maximum(own, np.append(own[:1], own[:-1]))

    def black(self) -> npt.NDArray[np.bool_]:
        """Which frames hold hardly a bright pixel, bool [N]."""
        return np.array(self.bright, np.int64) * 3 < BLACK_SHARE * self.sampled


def _sums(values_NCHW: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> Whole:
    return values_NCHW.reshape(len(values_NCHW), -1).sum(axis=1, dtype=np.uint32).astype(np.int64)


def _shift(one_CHW: Uint8, other_CHW: Uint8) -> float:
    """How much the colours of two frames differ wherever they stand, 0 to 100: the earth mover's distance."""
    moved = np.cumsum(_histogram(one_CHW) - _histogram(other_CHW), axis=1)
    return int(np.abs(moved).sum()) / (2.55 * one_CHW.size)


def _histogram(frame_CHW: Uint8) -> Whole:
    """How often each level occurs, [3, 256]."""
    levels = frame_CHW.reshape(3, -1) + np.array([[0], [256], [512]], np.int16)
    return np.bincount(levels.ravel(), minlength=768).reshape(3, 256)


@dataclass(frozen=True)
class Window:
    """One clip: `frames` frames from the video's frame `first` on."""

    first: int
    seconds: float  # presentation time of the first frame
    scene: int  # the stretch without cut or hole that it lies in, counted from 0
    statistics: dict[str, float]  # "brightness", "contrast", "motion", in levels 0 to 255


@dataclass(frozen=True)
class Cutting:
    """The clips of a video, and how many were lost."""

    windows: tuple[Window, ...]
    left_out: dict[str, int]  # by reason: "cut", "short", "black", "static", "surplus"


def cut_windows(timeline: Timeline, config: IngestConfig) -> Cutting:
    """Lay windows of `config.frames` frames every `config.stride` seconds over each stretch of steady video.

    Left out are windows with a cut or a hole in time inside ("cut"), those of a stretch shorter than a clip and the
    rest at the video's end ("short"), those with hardly a pixel that is not black, and those in which nothing moves;
    of more than `config.max_clips_per_video`, what is between the evenly spread ones ("surplus").
    """
    windows: list[Window] = []
    left_out: Counter[str] = Counter()
    figures = _Figures(timeline, config.frames)
    stretches = _stretches(timeline, config.scene_threshold)
    for scene, (start, end) in enumerate(stretches):
        for offset in _offsets(end - start, config):
            first = start + offset
            if first + config.frames > end:
                cut = end - start >= config.frames and scene + 1 < len(stretches)
                left_out["cut" if cut else "short"] += 1
            elif figures.bright_share(first) < BLACK_SHARE:
                left_out["black"] += 1
            elif figures.motion(first) < config.min_motion:
                left_out["static"] += 1
            else:
                windows.append(Window(first, timeline.seconds[first], scene, figures.statistics(first)))
    chosen = _evenly(windows, config.max_clips_per_video)
    left_out["surplus"] = len(windows) - len(chosen)
    return Cutting(tuple(chosen), {reason: left_out[reason] for reason in sorted(left_out) if left_out[reason]})


class _Figures:
    """Figures of any window of a video, from running sums."""

    def __init__(self, timeline: Timeline, frames: int) -> None:
        self.frames = frames
        self.values = timeline.sampled * frames
        kept = (timeline.changes, timeline.levels, timeline.squares, timeline.bright)
        self.changes, self.levels, self.squares, self.bright = (
            np.concatenate([[0], np.cumsum(np.array(numbers, np.int64))]) for numbers in kept
        )

    def _sum(self, running: Whole, first: int, last: int) -> int:
        return int(running[last] - running[first])

    def bright_share(self, first: int) -> float:
        return self._sum(self.bright, first, first + self.frames) * 3 / self.values

    def motion(self, first: int) -> float:
        """Mean |change| from frame to frame, in levels; the first frame's is no part of the clip."""
        steps = self.values // self.frames * (self.frames - 1)
        return self._sum(self.changes, first + 1, first + self.frames) / steps

    def statistics(self, first: int) -> dict[str, float]:
        """Figures by which dark or still clips are found: levels 0 to 255, rounded to a thousandth."""
        mean = self._sum(self.levels, first, first + self.frames) / self.values
        square = self._sum(self.squares, first, first + self.frames) / self.values
        contrast = max(0.0, square - mean * mean) ** 0.5
        figures = {"brightness": mean, "contrast": contrast, "motion": self.motion(first)}
        return {name: round(value, 3) for name, value in figures.items()}


def _stretches(timeline: Timeline, threshold: float) -> list[tuple[int, int]]:
    """Half-open ranges of frames, one a cell, with no cut inside."""
    cells = np.array(timeline.cells, np.int64)
    black = timeline.black()
    # What comes up out of black is another scene, however slowly it does.
    breaks = (timeline.cut_scores()[1:] >= threshold) | (np.diff(cells) != 1) | (black[:-1] & ~black[1:])
    breaks = np.flatnonzero(breaks) + 1
    return list(pairwise([0, *breaks.tolist(), len(cells)]))


def _offsets(length: int, config: IngestConfig) -> list[int]:
    """Starts of windows within a stretch: each stride, rounded to a frame, without repeats."""
    every = config.stride * config.fps
    starts = {round(number * every) for number in range(int(length / every) + 1)}
    return sorted(start for start in starts if start < length)


def _evenly(windows: list[Window], most: int | None) -> list[Window]:
    if most is None or len(windows) <= most:
        return windows
    return [windows[(2 * place + 1) * len(windows) // (2 * most)] for place in range(most)]


def why_no_clip(timeline: Timeline, cutting: Cutting, config: IngestConfig) -> tuple[str, str]:
    """Reason code and one line for a video without a window."""
    shown = len(timeline.cells)
    span = timeline.cells[-1] + 1 if shown else 0
    length = f"{config.frames / config.fps:.2f} s"
    needed = f"a clip needs {config.frames} frames at {config.fps:g} per second"
    if span < config.frames:
        return "too_short", f"{span / config.fps:.2f} s of video; {needed}, {length}"
    if shown < 0.9 * span:
        return "low_fps", f"{shown * config.fps / span:.2f} frames per second; {needed}"
    black, still = (cutting.left_out.get(reason, 0) for reason in ("black", "static"))
    if black > still:
        return "black", f"hardly a pixel is brighter than level {BRIGHT} in any of its stretches of {length}"
    if still:
        return "static", f"it changes by less than --min-motion {config.min_motion:g} levels from frame to frame"
    return "all_cut", f"no {length} without a scene cut or a hole in time"
