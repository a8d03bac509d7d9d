"""Frames to files that a person opens: mp4, png, and the contact sheet; `films` has the other kinds of films.

Shape suffixes: N clips, T frames, H height, W width, C = 3 colours (RGB, uint8).
This module travels in the packaged model: it needs numpy, ffmpeg-python, the standard library and its
neighbours only.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..storage import write_atomic
from .codecs import Encoder
from .films import check_frames, film_bytes

Uint8 = npt.NDArray[np.uint8]
GUTTER = 40  # grey level between the tiles of a contact sheet


def mp4_bytes(frames_THWC: Uint8, fps: float, metadata: Mapping[str, str] | None = None, *, crf: int = 16) -> bytes:
    """H.264 in mp4 that every player and browser opens; equal frames give equal bytes.

    Args:
        frames_THWC: uint8 [T, H, W, 3]; height and width must be even.
        fps: frames per second.
        metadata: container tags, such as those of `provenance.synthetic_metadata`.
        crf: x264's quality, 0 (lossless) to 51; 16 is visually lossless.

    Raises:
        ConfigError: the frames have another type or shape, or an odd size.
        StorageError: ffmpeg failed, with its message.
    """
    return film_bytes(frames_THWC, fps, "mp4", Encoder("libx264", {"preset": "medium", "crf": crf}), metadata)


def write_mp4(path: Path, frames_THWC: Uint8, fps: float, metadata: Mapping[str, str] | None = None) -> None:
    """Write `mp4_bytes` under its final name, whole or not at all."""
    write_atomic(path, mp4_bytes(frames_THWC, fps, metadata))


def png_bytes(image_HWC: Uint8) -> bytes:
    """An RGB png of uint8 [H, W, 3]."""
    height, width = check_frames(image_HWC[None])
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image_HWC.reshape(height, width * 3)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, content) for kind, content in chunks)


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(path: Path, image_HWC: Uint8) -> None:
    """Write `png_bytes` under its final name, whole or not at all."""
    write_atomic(path, png_bytes(image_HWC))


def spread(length: int, most: int) -> list[int]:
    """At most `most` of `length` frames, evenly spaced, first and last among them."""
    count = min(most, length)
    return [place * (length - 1) // max(1, count - 1) for place in range(count)]


def contact_sheet(clips_NTHWC: Uint8 | Sequence[Uint8], *, columns: int = 1, frames: int = 8, tile: int = 64) -> Uint8:
    """Many clips in one picture: each clip a strip of frames in time order, read from left to right.

    Args:
        clips_NTHWC: uint8 [N, T, H, W, 3].
        columns: strips side by side.
        frames: at most so many frames of a clip, evenly spaced, first and last among them.
        tile: frames smaller than this are enlarged by a whole factor, so that their pixels can be seen.

    Returns:
        uint8 [height, width, 3].
    """
    clips = np.asarray(clips_NTHWC)
    num, length, height, width, _ = clips.shape
    shown = spread(length, frames)
    zoom = max(1, tile // min(height, width))
    clips = clips[:, shown].repeat(zoom, axis=2).repeat(zoom, axis=3)
    clips = np.pad(clips, ((0, 0), (0, 0), (0, 4), (0, 1), (0, 0)), constant_values=GUTTER)
    strips = clips.transpose(0, 2, 1, 3, 4).reshape(num, height * zoom + 4, -1, 3)
    strips = np.pad(strips, ((0, -num % columns), (0, 0), (0, 12), (0, 0)), constant_values=GUTTER)
    grid = strips.reshape(-1, columns, *strips.shape[1:]).transpose(0, 2, 1, 3, 4)
    sheet = grid.reshape(-1, columns * strips.shape[2], 3)
    return np.ascontiguousarray(sheet[:-4, :-13])
