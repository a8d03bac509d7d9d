"""`shapes`: videos whose every property is known, so that a generator can be judged exactly.

One flat-coloured square or disc on black moves about 50/64 of the frame, from the bottom to the
top (class "up") or from the right to the left (class "left"), swaying smoothly sideways. This is
the law of the synthetic set of MoCoGAN (Tulyakov et al., 2018, section 4), redrawn for any size:
sides are 8, 10, 12 or 14 sixty-fourths of the frame, edges are anti-aliased. Colour, side and
kind are constant within a video. Equal seeds give equal frames.

Shape suffixes: T frames, H height, W width, C = 3 colours (RGB, uint8).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from ..media.encode import mp4_bytes
from ..progress import Progress, silent
from ..storage import read_bytes, write_atomic

Uint8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float64]
Direction = Literal["up", "left"]
Kind = Literal["square", "disc"]

LAW = "shapes-1"  # changes when the same seed gives other frames
DIRECTIONS: tuple[Direction, ...] = ("left", "up")  # sorted, as class names are in a dataset
KINDS: tuple[Kind, ...] = ("square", "disc")
SIDES = (8, 10, 12, 14)  # in sixty-fourths of the frame
TRAVEL = 50 / 64  # of the frame, from the first frame to the last
MARGIN = 7 / 64  # of the frame, kept between the centre and each border
BRIGHTEST_AT_LEAST = 96  # a colour whose brightest channel is below cannot be told from black


@dataclass(frozen=True)
class Shape:
    """One video: what moves, how it looks, and where its centre is in each frame."""

    direction: Direction
    kind: Kind
    colour: tuple[int, int, int]  # RGB, 0 to 255
    side: int  # in sixty-fourths of the frame: width of the square, diameter of the disc
    path_T2: Float  # centre (x, y), in parts of the frame, y downwards


def draw_shape(seed: int, index: int, frames: int, direction: Direction | None = None) -> Shape:
    """The `index`-th shape of a seed; without `direction`, classes alternate with the index."""
    rng = np.random.default_rng([seed, index])
    kind = KINDS[rng.integers(len(KINDS))]
    side = SIDES[rng.integers(len(SIDES))]
    colour = rng.integers(0, 256, 3)
    while colour.max() < BRIGHTEST_AT_LEAST:
        colour = rng.integers(0, 256, 3)
    along = 1 - MARGIN - (1 - 2 * MARGIN - TRAVEL) * rng.random() - TRAVEL * np.linspace(0, 1, frames)
    across = _sway(rng, frames)
    chosen = direction or DIRECTIONS[index % len(DIRECTIONS)]
    path_T2 = np.stack([across, along] if chosen == "up" else [along, across], axis=1)
    return Shape(chosen, kind, (int(colour[0]), int(colour[1]), int(colour[2])), side, path_T2)


def _sway(rng: np.random.Generator, frames: int) -> Float:
    """A smooth walk across the direction of motion, within the margins: a slow sine of random size and phase."""
    reach = rng.uniform(0, 14 / 64)
    middle = rng.uniform(MARGIN + reach, 1 - MARGIN - reach)
    turns, phase = rng.uniform(0.5, 1.0), rng.uniform(0, 2 * np.pi)
    return middle + reach * np.sin(2 * np.pi * turns * np.linspace(0, 1, frames) + phase)


def render(shape: Shape, size: int) -> Uint8:
    """Draw a shape: uint8 [T, size, size, 3], each pixel's coverage times the colour, on black."""
    pixel = (np.arange(size) + 0.5) / size
    dx_TW = np.abs(pixel[None] - shape.path_T2[:, :1]) * size
    dy_TH = np.abs(pixel[None] - shape.path_T2[:, 1:]) * size
    half = shape.side / 64 * size / 2
    if shape.kind == "square":
        cover_THW = np.clip(half + 0.5 - dy_TH, 0, 1)[:, :, None] * np.clip(half + 0.5 - dx_TW, 0, 1)[:, None]
    else:
        cover_THW = np.clip(half + 0.5 - np.hypot(dy_TH[:, :, None], dx_TW[:, None]), 0, 1)
    return np.rint(cover_THW[..., None] * np.asarray(shape.colour)).astype(np.uint8)


def render_video(
    seed: int, index: int, *, size: int = 64, frames: int = 16, direction: Direction | None = None
) -> tuple[Uint8, Shape]:
    """The `index`-th video of a seed, uint8 [frames, size, size, 3], and what it shows."""
    shape = draw_shape(seed, index, frames, direction)
    return render(shape, size), shape


def write_videos(
    folder: Path,
    *,
    num: int = 600,
    seed: int = 0,
    size: int = 64,
    frames: int = 16,
    fps: float = 16.0,
    progress: Progress = silent,
) -> list[Path]:
    """Write `num` videos as `<folder>/<class>/shape-<index>.mp4`; those that are there already are kept.

    They are H.264 in 4:2:0, which any player opens but which halves the resolution of colour: write
    them at twice the size of the clips you want, and the clips' colours are flat. With the default
    of one second, a clip of 8 frames at 8 per second holds nearly the whole journey.

    Returns:
        the paths, in the order of the index.

    Raises:
        ConfigError: the folder holds shapes of another seed, size, length or rate.
    """
    marker = folder / "shapes.txt"
    law = f"{LAW}: seed {seed}, {frames} frames of {size} x {size} at {fps:g} per second\n"
    if marker.exists() and read_bytes(marker) != law.encode():
        raise ConfigError(
            f"{folder} holds other shapes ({read_bytes(marker).decode(errors='replace').strip()}).",
            hint="Name another folder, or remove this one.",
        )
    write_atomic(marker, law.encode())

    def write(index: int) -> Path:
        path = folder / DIRECTIONS[index % len(DIRECTIONS)] / f"shape-{index:05d}.mp4"
        if not path.exists():
            frames_THWC, _ = render_video(seed, index, size=size, frames=frames)
            write_atomic(path, mp4_bytes(frames_THWC, fps, {"title": f"{LAW} {seed}/{index}"}, crf=8))
        return path

    written: list[Path] = []
    pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="shapes")
    try:
        for path in pool.map(write, range(num)):
            written.append(path)
            progress(len(written), num, "writing shapes")
    finally:
        pool.shutdown(cancel_futures=True)
    return written
