"""Constant black bars around a video, found on a few key frames.

At most KEY_FRAMES of them are decoded, spread over the file, so that the cost does not grow with its length.
A line belongs to a bar when it is black in all of them. Bars are taken off with two pixels more on each side
that has one, as scaling blurs their edge. What is left when everything is dark, or when less than a third of
the picture would remain, is the whole picture: a night scene is no border.

Shape suffixes: H height, W width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.video.frame import VideoFrame

from .stream import Source, check_size

KEY_FRAMES = 16
MOST_PACKETS = 3000  # read for all of them
BLACK = 24  # of 255 in limited range: what is not brighter is black (16) with some noise
LIT = 0.01  # share of a line's pixels that must be brighter for the line to be picture
SAMPLES = 512  # pixels of a line that are looked at
EDGE = 2
LEAST_LEFT = 1 / 3  # of the picture's area


@dataclass(frozen=True)
class Rect:
    """A part of a picture, in its stored pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Borders:
    """The part of the picture inside the bars."""

    part: Rect
    of_size: tuple[int, int]  # width and height of the whole picture


def find_borders(path: Path | str) -> Borders | None:
    """Look for bars; None when there are none that can be trusted.

    Raises:
        VideoError: the file cannot be opened (no_header, unreadable, no_video_stream, unsupported_codec).
    """
    with Source(path) as source:
        rows = columns = None
        size = (0, 0)
        for frame in _key_frames(source):
            if size == (0, 0):
                check_size(frame.width, frame.height)
                size = (frame.width, frame.height)
                rows, columns = np.zeros(size[1], np.bool_), np.zeros(size[0], np.bool_)
            elif (frame.width, frame.height) != size:
                return None
            assert rows is not None and columns is not None
            bright_HW = _luma(frame) > BLACK
            rows |= bright_HW[:, :: 1 + size[0] // SAMPLES].mean(axis=1) > LIT
            columns |= bright_HW[:: 1 + size[1] // SAMPLES].mean(axis=0) > LIT
    if rows is None or columns is None:
        return None
    (top, bottom), (left, right) = _inside(rows), _inside(columns)
    part = Rect(left, top, right - left, bottom - top)
    if part == Rect(0, 0, *size) or part.width * part.height < LEAST_LEFT * size[0] * size[1]:
        return None
    return Borders(part, size)


def _key_frames(source: Source) -> Iterator[VideoFrame]:
    """One picture for each place of an even spread, or the first ones where the length is not known."""
    num = int(min(KEY_FRAMES, 1 + source.seconds)) if source.seconds else KEY_FRAMES
    start = (source.container.start_time or 0) / 1e6
    packets, seen = 0, set[int | None]()
    for place in range(num):
        # What cannot be sought or decoded here is judged when the video itself is decoded.
        with contextlib.suppress(FFmpegError, IndexError):
            if place and not source.seconds:
                source.stream.codec_context.flush_buffers()
            elif place:
                source.container.seek(int((start + source.seconds * place / num) * 1e6))
            for packet in source.container.demux(source.stream):
                packets += 1
                if packet.is_keyframe and packet.size:
                    if packet.dts not in seen:
                        seen.add(packet.dts)
                        # A decoder may hold a picture back until it is told that nothing follows.
                        yield from [*source.decode(packet), *source.decode(None)][:1]
                    break
                if packets > MOST_PACKETS:
                    return


def _luma(frame: VideoFrame) -> npt.NDArray[np.uint8]:
    """Brightness uint8 [H, W], in limited range."""
    plane: Any = frame.reformat(format="yuv420p", dst_color_range="MPEG").planes[0]  # lines end in padding
    return np.frombuffer(plane, np.uint8).reshape(frame.height, -1)[:, : frame.width]


def _inside(lit: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """First and one past the last line of the picture; the edge of a bar goes with the bar."""
    places = np.flatnonzero(lit)
    if not len(places):
        return 0, len(lit)
    first, end = int(places[0]), int(places[-1]) + 1
    first = first + EDGE if first else 0
    end = end - EDGE if end < len(lit) else end
    return (first + first % 2, end - end % 2) if end - first > EDGE else (0, len(lit))
