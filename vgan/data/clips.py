"""Where the clips of a video lie: windows of consecutive frames without a cut or a hole inside.

Shape suffixes: N frames of a video, H height, W width, C = 3 colours (RGB, uint8).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ..config import IngestConfig

Uint8 = npt.NDArray[np.uint8]


@dataclass
class Timeline:
    """What is kept of every chosen frame beside its pixels; grows frame by frame."""

    cells: list[int] = field(default_factory=list[int])  # place in time, in frame intervals
    seconds: list[float] = field(default_factory=list[float])  # presentation time
    differences: list[float] = field(default_factory=list[float])  # mean |this frame - the last one|, 0 to 100
    _last_HWC: npt.NDArray[np.int16] | None = None

    def add(self, cell: int, seconds: float, pixels_HWC: Uint8) -> None:
        """Append a frame."""
        frame_HWC = pixels_HWC.astype(np.int16)
        difference = 0.0 if self._last_HWC is None else float(np.abs(frame_HWC - self._last_HWC).mean()) / 2.55
        self._last_HWC = frame_HWC
        self.cells.append(cell)
        self.seconds.append(seconds)
        self.differences.append(difference)

    def cut_scores(self) -> list[float]:
        """How much each frame looks like the first of another scene, 0 to 100.

        ffmpeg's scdet: min(m, |m - m'|), where m is the mean absolute difference to the frame before
        and m' the same of that frame: fast motion is high in both, a cut in one.
        """
        before = [0.0, *self.differences]
        return [min(now, abs(now - then)) for now, then in zip(self.differences, before, strict=False)]


@dataclass(frozen=True)
class Window:
    """One clip: `frames` frames from the video's frame `first` on."""

    first: int
    seconds: float  # presentation time of the first frame
    scene: int  # the stretch without cut or hole that it lies in, counted from 0


@dataclass(frozen=True)
class Cutting:
    """The clips of a video, and how many were lost."""

    windows: tuple[Window, ...]
    cut: int  # windows left out because a scene cut or a hole in time fell inside


def cut_windows(timeline: Timeline, config: IngestConfig) -> Cutting:
    """Lay windows of `config.frames` frames every `config.stride` seconds over each stretch of steady video."""
    windows: list[Window] = []
    cut = 0
    stretches = _stretches(timeline, config.scene_threshold)
    for scene, (start, end) in enumerate(stretches):
        for offset in _offsets(end - start, config):
            if start + offset + config.frames <= end:
                windows.append(Window(start + offset, timeline.seconds[start + offset], scene))
            elif scene + 1 < len(stretches):
                cut += 1
    return Cutting(tuple(windows), cut)


def _stretches(timeline: Timeline, threshold: float) -> list[tuple[int, int]]:
    """Half-open ranges of frames, one a cell, with no cut inside."""
    scores = timeline.cut_scores()
    breaks = [
        place
        for place in range(1, len(scores))
        if scores[place] >= threshold or timeline.cells[place] != timeline.cells[place - 1] + 1
    ]
    edges = [0, *breaks, len(scores)]
    return list(pairwise(edges))


def _offsets(length: int, config: IngestConfig) -> list[int]:
    """Starts of windows within a stretch: each stride, rounded to a frame, without repeats."""
    every = config.stride * config.fps
    starts = {round(number * every) for number in range(int(length / every) + 1)}
    return sorted(start for start in starts if start < length)


def why_no_clip(timeline: Timeline, config: IngestConfig) -> tuple[str, str]:
    """Reason code and one line for a video without a window."""
    shown = len(timeline.cells)
    span = timeline.cells[-1] + 1 if timeline.cells else 0
    needed = f"a clip needs {config.frames} frames at {config.fps:g} per second"
    if span < config.frames:
        return "too_short", f"{span / config.fps:.2f} s of video; {needed}, {config.frames / config.fps:.2f} s"
    if shown < 0.9 * span:
        return "low_fps", f"{shown * config.fps / span:.2f} frames per second; {needed}"
    return "all_cut", f"no {config.frames / config.fps:.2f} s without a scene cut or a hole in time"


def clip_statistics(clip_CTHW: Uint8) -> dict[str, float]:
    """Figures by which dark or still clips are found: levels 0 to 255, rounded to a thousandth."""
    steps = np.abs(np.diff(clip_CTHW.astype(np.int16), axis=1))
    figures = {
        "brightness": float(clip_CTHW.mean(dtype=np.float64)),
        "contrast": float(clip_CTHW.std(dtype=np.float64)),
        "motion": float(steps.mean(dtype=np.float64)),
    }
    return {name: round(value, 3) for name, value in figures.items()}


def clip_of(frames_NHWC: Uint8, window: Window, frames: int) -> Uint8:
    """Cut a window out: uint8 [C, frames, H, W], contiguous."""
    return np.ascontiguousarray(frames_NHWC[window.first : window.first + frames].transpose(3, 0, 1, 2))
