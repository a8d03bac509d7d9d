"""From a video file to the frames of clips: at the asked rate, upright, square pixels, RGB.

FFmpeg decodes inside this process (PyAV), since its start-up is most of the cost of a short video; a process
that decodes what strangers made must therefore be one that may die or be killed. Frames are chosen by
presentation time and never doubled to fill a rate.

Shape suffixes: C = 3 colours (RGB, uint8), H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .borders import find_borders
from .picture import Pictures
from .stream import Source, StreamInfo, VideoError, errors_seen, last_message

__all__ = ["Decoder", "Frame", "Sampling", "StreamInfo", "VideoError"]

Uint8 = npt.NDArray[np.uint8]

MOST_ERRORS = 0.02  # of the packets; above it what was decoded is not trusted
MOST_MISSING = 0.02  # of the declared seconds, where the file could not be read to its end
EARLY = 0.1  # of a frame interval: how much before its cell a frame may be shown and still be of it
MOST_RATE = 500  # packets for each second that may be read; what follows is left out
UNCUT = {"mpegts", "mpeg"}  # containers without a declared length, whose last packet may well be half
CUT_OFF = ("partial file", "ended prematurely")
REASONS = {  # of a file without a single frame, by FFmpeg's words
    "exceeds specified max pixel count": "too_large",
    "is invalid": "too_large",  # a picture size
    "not on whitelist": "unsupported_codec",
}


@dataclass(frozen=True)
class Sampling:
    """Which frames, and how large."""

    fps: float  # cells per second
    height: int  # of the frames, in pixels
    width: int
    crop: Literal["centre", "borders"] = "centre"  # "borders" first takes off black bars
    max_seconds: float = 14_400.0  # of video that are read; what follows is left out


@dataclass(frozen=True)
class Frame:
    """One chosen frame."""

    cell: int  # its place in time, in frame intervals of the asked rate since the first frame
    seconds: float  # its presentation time since the first frame
    pixels_CHW: Uint8  # [3, H, W] RGB, contiguous; the receiver may keep it


class Decoder:
    """Iterate over the chosen frames of one video once, then read `info`.

    A frame is chosen when it is the first of its cell, the interval of 1/fps that its presentation time
    falls into; a cell in which nothing is shown stays empty. The picture is turned upright, stretched to
    square pixels, cropped in the middle to the shape of height x width and scaled to it.

    Args:
        path: a regular file.
        sampling: which frames, and how large.
    """

    info: StreamInfo

    def __init__(self, path: Path | str, sampling: Sampling) -> None:
        self.path = path
        self.sampling = sampling

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames as they are decoded.

        Raises:
            VideoError: at the latest after the last frame; its reason is no_header, unreadable,
                no_video_stream, unsupported_codec, too_large, no_timestamps, damaged or truncated.
        """
        sampling = self.sampling
        borders = find_borders(self.path) if sampling.crop == "borders" else None
        with Source(self.path) as source:
            pictures = Pictures(sampling.height, sampling.width, source, borders)
            reading = _Reading(source, sampling.max_seconds)
            last_cell = -1
            for seconds, frame in reading.frames():
                cell = math.floor(seconds * sampling.fps + EARLY)
                if cell > last_cell:
                    last_cell = cell
                    yield Frame(cell, seconds, pictures.convert(frame))
            reading.judge()
            self.info = _facts(source, pictures, reading)


def _facts(source: Source, pictures: Pictures, reading: _Reading) -> StreamInfo:
    return StreamInfo(
        codec=source.codec,
        width=pictures.shown[0],
        height=pictures.shown[1],
        fps=source.rate,
        seconds=source.seconds,
        colour=pictures.colour,
        treatment=tuple(sorted(pictures.treatment)),
        packets=reading.packets,
        frames_decoded=reading.num_frames,
        decode_errors=reading.errors,
        tags=source.tags(),
    )


class _Reading:
    """The frames of a source in presentation order, and an account of what went wrong."""

    def __init__(self, source: Source, max_seconds: float) -> None:
        self.source = source
        self.max_seconds = max_seconds
        self.most_packets = math.ceil((max_seconds + 1) * MOST_RATE)
        self.packets = 0
        self.num_frames = 0
        self.errors = 0
        self._message = ""  # of the first error
        self._last_seconds = 0.0
        self._end = ""  # what was wrong where reading ended
        self._cut = False

    def frames(self) -> Iterator[tuple[float, VideoFrame]]:
        """Seconds since the first frame, and picture, up to `max_seconds`; what cannot be decoded is counted."""
        unit = float(self.source.stream.time_base or 0)
        first = last = None
        for frame in self._decoded():
            # A container without presentation times gives decoding times, here in presentation order.
            shown = frame.pts if frame.pts is not None else frame.dts
            if shown is None and last is not None and frame.duration > 0:  # of AVI's last frames
                shown = last + frame.duration
            if shown is None:
                raise VideoError("no_timestamps", "a frame has no presentation time")
            last = shown
            first = shown if first is None else first
            seconds = (shown - first) * unit
            if seconds >= self.max_seconds:
                return
            self.num_frames += 1
            self._last_seconds = max(self._last_seconds, seconds)
            yield seconds, frame

    def _decoded(self) -> Iterator[VideoFrame]:
        corrupt = ended = False
        before = errors_seen()
        try:
            for packet in self.source.container.demux(self.source.stream):
                if packet.size:
                    self.packets += 1
                    corrupt = packet.is_corrupt
                elif packet.dts is None:  # the last one, which only asks for the frames that are left
                    self._look_at_end(last_message(before), corrupt=corrupt)
                    ended = True
                else:  # an empty one in the middle would be taken for the last one
                    continue
                yield from self._decode(packet)
                if self.packets >= self.most_packets:
                    return
                before = errors_seen()
        except FFmpegError as error:
            self._look_at_end(last_message(before) or str(error.strerror), corrupt=corrupt)
            yield from self._decode(None)
        except IndexError:  # PyAV's, at the end of a broadcast in which more streams have appeared
            if not ended:
                self._look_at_end(last_message(before), corrupt=corrupt)
                yield from self._decode(None)

    def _decode(self, packet: Packet[VideoStream] | None) -> Iterator[VideoFrame]:
        before = errors_seen()
        try:
            frames = self.source.decode(packet)
        except FFmpegError as error:
            self._count(last_message(before) or str(error.strerror))
            return
        if packet is not None and packet.is_corrupt:
            self._count("a packet is damaged")
        for frame in frames:
            if frame.is_corrupt:
                self._count(last_message(before) or "a picture is damaged")
            yield frame

    def _look_at_end(self, message: str, *, corrupt: bool) -> None:
        """Note what the demuxer said, if anything, when it came to the end."""
        if message:
            self._count(message)
        self._end = message
        half = corrupt and self.source.container.format.name not in UNCUT
        self._cut = half or _says_cut(message)

    def _count(self, message: str) -> None:
        self.errors += 1
        self._message = self._message or message

    def judge(self) -> None:
        """Raises VideoError when what was decoded is nothing, or not to be trusted."""
        if not self.num_frames:
            reason = next((reason for words, reason in REASONS.items() if words in self._message), "")
            cut = self._cut or _says_cut(self.source.opening_message)
            raise VideoError(reason or ("truncated" if cut else "damaged"), self._message or "it holds no picture")
        declared = self.source.seconds
        missing = self._end and declared - self._last_seconds > 1 / (self.source.rate or 1) + MOST_MISSING * declared
        if self._cut or missing:
            detail = f"the file ends after {self.num_frames} frames, before its content does"
            raise VideoError("truncated", f"{detail} ({self._end})" if self._end else detail)
        if self.errors > MOST_ERRORS * max(self.packets, 1):
            raise VideoError("damaged", f"{self.errors} errors in {self.packets} packets, the first: {self._message}")


def _says_cut(message: str) -> bool:
    return any(words in message for words in CUT_OFF)
