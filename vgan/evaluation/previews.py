"""The sheets that training drew of the same seeds at each checkpoint, as clips again.

Shapes: N clips, T frames, H height, W width, C = 3 colours.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..records import GeneratorRecord, TrainedRun
from ..workspace import RunFolder

UInt8 = NDArray[np.uint8]
MOMENTS = 8  # of training, at most
SEEDS = 6  # at most
TILE = 64  # pixels of the smaller side, to which a sheet enlarges frames; see media.encode.contact_sheet
BELOW, BESIDE = 4, 1  # pixels between the rows and the frames of a sheet
FRAMES = 8  # of a clip in a sheet, at most


@dataclass(frozen=True)
class Preview:
    """How the same seeds looked at one moment of training."""

    clips_seen: int
    clips_NTHWC: UInt8  # uint8; T is at most FRAMES, evenly spaced over the clip


def read_previews(folder: RunFolder, run: TrainedRun, moments: int = MOMENTS, seeds: int = SEEDS) -> list[Preview]:
    """At most `moments` previews of a run, evenly spaced in time, the last one of the finished generator.

    A file that is no such sheet is left out.
    """
    drawn = {int(path.stem[5:]): path for path in folder.samples.glob("step-*.png") if path.stem[5:].isdigit()}
    sheets = {step: path for step, path in drawn.items() if step < run.steps} | {run.steps: folder.contact_sheet}
    steps = sorted(sheets)
    places = np.unique(np.linspace(0, len(steps) - 1, min(moments, len(steps))).round().astype(int))
    found: list[Preview] = []
    for step in [steps[int(place)] for place in places]:
        clips_NTHWC = _read(sheets[step], run.generator, seeds)
        if clips_NTHWC is not None:
            found.append(Preview(step * run.clips // max(1, run.steps), clips_NTHWC))
    return found


def _read(path: Path, record: GeneratorRecord, seeds: int) -> UInt8 | None:
    """Clips of the first `seeds` rows of a sheet: uint8 [N, T, H, W, 3]; None when the file is no such sheet."""
    zoom = max(1, TILE // min(record.height, record.width))
    tall, wide = record.height * zoom + BELOW, record.width * zoom + BESIDE
    frames = min(FRAMES, record.frames)
    try:
        image_HWC = read_rows(path.read_bytes(), seeds * tall)
    except (OSError, ValueError, zlib.error, struct.error):
        return None
    rows = (image_HWC.shape[0] + BELOW) // tall
    if not rows or image_HWC.shape[1] < frames * wide - BESIDE:
        return None
    whole = np.zeros((rows * tall, frames * wide, 3), np.uint8)
    part = image_HWC[: rows * tall, : frames * wide]
    whole[: part.shape[0], : part.shape[1]] = part
    tiles = whole.reshape(rows, tall, frames, wide, 3)[
        :, : record.height * zoom : zoom, :, : record.width * zoom : zoom
    ]
    return np.ascontiguousarray(tiles.transpose(0, 2, 1, 3, 4))


def read_rows(png: bytes, most: int) -> UInt8:
    """The first rows, at most `most`, of an RGB png as `media.encode.png_bytes` writes it: uint8 [H, W, 3].

    Raises:
        ValueError: another kind of png, or none; zlib.error and struct.error for a damaged one.
    """
    chunks = dict(_chunks(png))
    width, height, *kind = struct.unpack(">IIBBBBB", chunks[b"IHDR"]) if b"IHDR" in chunks else (0, 0, 0)
    if kind != [8, 2, 0, 0, 0] or not 0 < width < 1 << 16:
        raise ValueError("not an 8-bit RGB png")
    line = 1 + 3 * width
    rows = min(height, most)
    # Not more than is needed: a damaged or hostile file may unpack to anything.
    raw = zlib.decompressobj().decompress(chunks.get(b"IDAT", b""), rows * line)
    lines = np.frombuffer(raw, np.uint8, rows * line).reshape(rows, line)
    if lines[:, 0].any():
        raise ValueError("rows are filtered, which png_bytes does not do")
    return lines[:, 1:].reshape(rows, width, 3)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not png.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError("not a png")
    place = 8
    while place + 8 <= len(png):
        size, name = struct.unpack(">I4s", png[place : place + 8])
        yield name, png[place + 8 : place + 8 + size]
        place += size + 12
