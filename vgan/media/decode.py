"""From a video file to the frames of clips: at the asked rate, upright, square pixels, RGB.

One ffmpeg process a video does it all, since its start-up is most of the cost of a short video: facts
about the stream come from its messages (`probe`), each frame's presentation time from a pipe of its own,
pixels from its stdout. Frames are chosen by presentation time and never doubled to fill a rate.

Shape suffixes: H height, W width, C = 3 colours (RGB, uint8).
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from .ffmpeg import Child, Finished, file_url
from .probe import StreamInfo, read_stream_info, why_nothing

Uint8 = npt.NDArray[np.uint8]

DECODE_SECONDS = 1800.0  # one video may take so long
LONGEST_SECONDS = 3600  # of a video; what follows is not read
MOST_ERRORS = 0.02  # of the packets; above it what was decoded is not trusted
EARLY = 0.1  # of a frame interval: how much before its cell a frame may be shown and still be of it
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf"

# A text that pretends to be a video may name other files or hosts: only containers, only local files.
# A tiny file may claim a huge picture, a hundred hours or a thousand streams.
GUARDS: dict[str, Any] = {
    "threads": 1,
    "protocol_whitelist": "file",
    "format_whitelist": FORMATS,
    "max_pixels": 33_177_600,  # 8K
    "max_streams": 32,
    "probesize": 20_000_000,
    "analyzeduration": 10_000_000,
    "t": LONGEST_SECONDS,
    "an": None,
    "sn": None,
    "dn": None,
}


PLAIN = {"no_video_stream": "it holds no video (a cover picture is none)"}  # where ffmpeg's own words do not help


class VideoError(Exception):
    """A video that cannot be used: a reason code, and one line for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail[:300]


@dataclass(frozen=True)
class Frame:
    """One chosen frame."""

    cell: int  # its place in time, in frame intervals of the asked rate since the first frame
    seconds: float  # its presentation time since the first frame
    pixels_HWC: Uint8


class Decoder:
    """Iterate over the chosen frames of one video, then read `info`.

    A frame is chosen when it is the first of its cell, the interval of 1/fps that its presentation time
    falls into; a cell in which nothing is shown stays empty. The picture is turned upright, stretched to
    square pixels, scaled to cover height x width and cropped in the middle.

    Args:
        path: a regular file.
        fps: cells per second.
        height, width: of the frames, in pixels.
        timeout: seconds for the whole video.
    """

    info: StreamInfo

    def __init__(
        self, path: Path | str, *, fps: float, height: int, width: int, timeout: float = DECODE_SECONDS
    ) -> None:
        self.path = path
        self.fps = fps
        self.height = height
        self.width = width
        self.timeout = timeout
        self._emitted = False

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames as they are decoded; raises VideoError, at the latest after the last frame."""
        times_end, ffmpegs_end = os.pipe()
        try:
            child = Child(self.arguments(ffmpegs_end), timeout=self.timeout, pass_fds=[ffmpegs_end])
        except BaseException:
            os.close(times_end)
            raise
        finally:
            os.close(ffmpegs_end)
        with open(times_end, "rb") as times, child:
            yield from self._frames(child, times)
        self._judge(child.finished)

    def arguments(self, times_fd: int) -> list[str]:
        """ffmpeg's arguments; it writes frames' times to this descriptor and pixels to stdout."""
        ffmpeg: Any = importlib.import_module("ffmpeg")  # builds the arguments, starts nothing
        video = ffmpeg.input("video", **GUARDS)["V:0"]  # V: attached pictures are no video
        cell, last = (f"floor(({t}-start_t)*{self.fps!r}+{EARLY})" for t in ("t", "prev_selected_t"))
        wide = f"gte(dar,{self.width}/{self.height})"
        frames = (
            video.filter("settb", "1/1000000")
            .filter("select", f"isnan(prev_selected_t)+gt({cell},{last})")
            .filter(
                "scale",
                w=f"if({wide},max({self.width},round({self.height}*dar)),{self.width})",
                h=f"if({wide},{self.height},max({self.height},round({self.width}/dar)))",
                flags="area+accurate_rnd+full_chroma_int+bitexact",
            )
            .filter("crop", self.width, self.height)
            .filter("format", "rgb24")
            .filter("metadata", mode="add", key="vgan", value="1")
            .filter("metadata", mode="print", key="vgan", file=f"pipe:{times_fd}", direct=1)
        )
        most = math.ceil(LONGEST_SECONDS * self.fps) + 1
        output = {"format": "rawvideo", "fps_mode": "passthrough", "frames:v": most, "threads": 1, "map_metadata": -1}
        arguments: list[str] = ffmpeg.output(frames, "pipe:1", **output).get_args()
        # Put in afterwards: ffmpeg-python hashes names as UTF-8, which not every name is.
        arguments[arguments.index("-i") + 1] = file_url(self.path)
        return ["-loglevel", "level+verbose", "-filter_complex_threads", "1", *arguments]

    def _frames(self, child: Child, times: IO[bytes]) -> Iterator[Frame]:
        size = self.height * self.width * 3
        first, last_cell = 0, -1
        while len(pixels := child.stdout.read(size)) == size:
            # ffmpeg writes a frame's time before its pixels, so this line is there.
            microseconds = _read_time(times)
            if last_cell < 0:
                first = microseconds
            seconds = (microseconds - first) / 1e6
            cell = math.floor(seconds * self.fps + EARLY)
            # Where the picture's size changes ffmpeg starts its filters anew and chooses its first frame again.
            if cell > last_cell:
                last_cell = cell
                self._emitted = True
                yield Frame(cell, seconds, np.frombuffer(pixels, np.uint8).reshape(self.height, self.width, 3))

    def _judge(self, finished: Finished) -> None:
        if finished.timed_out:
            raise VideoError("decode_timeout", f"not decoded within {self.timeout:g} s")
        # A file's name may hold a line break and what follows it may look like a message.
        messages = finished.stderr.replace(file_url(self.path), "the file")
        info = read_stream_info(messages)
        if info is None or not self._emitted:
            reason = why_nothing(messages)
            raise VideoError(reason, PLAIN.get(reason, finished.first_error))
        if info.cut_off:
            raise VideoError("truncated", f"the file ends after {info.frames_decoded} frames, before its content does")
        if info.decode_errors > MOST_ERRORS * max(info.packets, 1):
            raise VideoError("damaged", f"{info.decode_errors} errors in {info.packets} packets")
        self.info = info


def _read_time(times: IO[bytes]) -> int:
    header, _ = times.readline(), times.readline()
    for field in header.split():
        if field.startswith(b"pts:") and field[4:].lstrip(b"-").isdigit():
            return int(field[4:])
    raise VideoError("no_timestamps", "a frame has no presentation time")
