"""One decoded frame to the pixels of a clip: cropped, scaled, upright, RGB.

The crop comes first, in source pixels, so that only what is kept is scaled; scaling averages areas (no aliasing)
with exact chroma; turning upright is done last, on the small picture. A frame flagged as interlaced gives its
top field only: no combing, and nothing is lost where the clip has at most half as many lines as the picture
(above that the missing lines are interpolated). Alpha is dropped, not blended.

Shape suffixes: C = 3 colours (RGB, uint8), H height, W width.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.filter import Graph
from av.filter.context import FilterContext
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from .borders import Borders, Rect
from .colour import Colour, colour_of, stretch_grey, tone_map
from .stream import Source, VideoError, check_size

Uint8 = npt.NDArray[np.uint8]
FLAGS = "area+accurate_rnd+full_chroma_int+bitexact"
MOST_KINDS = 4  # of frames in one video whose filters are kept


@dataclass(frozen=True)
class Turn:
    """How a stored picture becomes upright: transposed first, then mirrored."""

    transposed: bool = False
    mirrored: bool = False  # left and right change places
    flipped: bool = False  # top and bottom change places

    def apply(self, plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of [H, W] (or [W, H]) turned upright."""
        upright = plane.T if self.transposed else plane
        return upright[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]


class Pictures:
    """Turns frames of one video into pictures of `height` x `width`.

    Args:
        height, width: of the result, in pixels.
        source: the video.
        borders: black bars to be taken off, from frames of the size that they were found in.
    """

    def __init__(self, height: int, width: int, source: Source, borders: Borders | None = None) -> None:
        self.height = height
        self.width = width
        self.source = source
        self.borders = borders
        self.shown = (0, 0)  # width and height of the first frame, upright and in square pixels
        self.colour = ""  # of the first frame
        self.treatment: set[str] = {"alpha dropped"} if source.has_alpha else set()
        self._converters: dict[tuple[object, ...], _Converter] = {}

    def convert(self, frame: VideoFrame) -> Uint8:
        """Pixels uint8 [3, H, W], contiguous and nobody else's.

        Raises:
            VideoError: too_large, unsupported_codec or damaged.
        """
        key = (
            *(frame.width, frame.height, frame.format.name, frame.interlaced_frame, frame.rotation),
            *(frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries),
        )
        converter = self._converters.get(key)
        if converter is None:  # the first frame, or a change in the middle; some broadcasts change to and fro
            if len(self._converters) >= MOST_KINDS:
                self._converters.clear()
            converter = self._converters[key] = self._build(frame)
        return converter(frame)

    def _build(self, frame: VideoFrame) -> _Converter:
        check_size(frame.width, frame.height)
        turn, colour = turn_of(frame), colour_of(frame)
        pixel_aspect = self.source.pixel_aspect
        if not self.colour:
            self.colour = colour.name
            self.shown = shown_size(frame, pixel_aspect, turn)
        part = Rect(0, 0, frame.width, frame.height)
        if self.borders and self.borders.of_size == (frame.width, frame.height):
            part = self.borders.part
            self.treatment.add("borders cropped")
        stages: list[str] = []
        if frame.interlaced_frame:
            part = Rect(part.x, part.y // 2, part.width, max(part.height // 2, 1))
            pixel_aspect /= 2
            stages.append("field=type=top")
            self.treatment.add("deinterlaced")
        if colour.transfer:
            self.treatment.add("tone-mapped")
        if has_alpha(frame.format.name):
            self.treatment.add("alpha dropped")
        height, width = (self.width, self.height) if turn.transposed else (self.height, self.width)
        part = middle(part, pixel_aspect, Fraction(width, height))
        stages += [
            f"crop=w={part.width}:h={part.height}:x={part.x}:y={part.y}",
            f"scale=w={width}:h={height}:flags={FLAGS}:out_range=full{colour.scaler}",
            f"format=pix_fmts={'gbrp16le' if colour.transfer else 'gbrp'}",
        ]
        return _Converter(frame, stages, (height, width), turn, colour)


class _Converter:
    """Runs frames of one kind through their filters and copies the planes out."""

    def __init__(self, frame: VideoFrame, stages: list[str], size: tuple[int, int], turn: Turn, colour: Colour) -> None:
        self.size = size  # height and width before turning
        self.turn = turn
        self.colour = colour
        self.kind = np.dtype("<u2" if colour.transfer else "u1")
        self.plain = turn == Turn() and not colour.transfer
        try:
            self._graph, self._source, self._sink = _link(frame, stages)
        except (FFmpegError, ValueError) as error:
            raise VideoError("unsupported_codec", f"pictures of kind {frame.format.name}: {error}") from error

    def __call__(self, frame: VideoFrame) -> Uint8:
        try:
            self._source.push(frame)
            scaled = self._sink.pull()
        except FFmpegError as error:
            raise VideoError("damaged", f"a picture cannot be scaled: {error.strerror}") from error
        assert isinstance(scaled, VideoFrame)
        planes: Any = scaled.planes  # buffers, which the stubs do not say
        green, blue, red = planes
        height, width = self.size
        if self.plain and green.line_size == blue.line_size == red.line_size == width:
            pixels_CHW = np.frombuffer(bytearray().join((red, green, blue)), np.uint8).reshape(3, height, width)
        elif self.colour.transfer:
            return tone_map(self._turned((red, green, blue)), self.colour)
        else:
            pixels_CHW = self._turned((red, green, blue))
        if self.colour.grey_limited:
            stretch_grey(pixels_CHW)
        return pixels_CHW

    def _turned(self, planes: tuple[Any, ...]) -> npt.NDArray[Any]:
        height, width = self.size
        out_CHW = np.empty((3, width, height) if self.turn.transposed else (3, height, width), self.kind)
        for place, plane in enumerate(planes):
            rows = np.frombuffer(plane, self.kind).reshape(height, -1)  # with padding at their ends
            out_CHW[place] = self.turn.apply(rows[:, :width])
        return out_CHW


def _link(frame: VideoFrame, stages: list[str]) -> tuple[Graph, FilterContext, FilterContext]:
    graph = Graph()
    graph.threads = 1
    size = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}"
    # What the frames say of themselves; the scaler's own options decide.
    says = f"colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
    source = last = graph.add("buffer", f"{size}:time_base=1/1000000:pixel_aspect=1/1:{says}")
    for stage in stages:
        name, _, options = stage.partition("=")
        after = graph.add(name, options)
        last.link_to(after)
        last = after
    sink = graph.add("buffersink")
    last.link_to(sink)
    graph.configure()
    return graph, source, sink


def turn_of(frame: VideoFrame) -> Turn:
    """How the frame's display matrix turns it, to the nearest quarter; a mirror counts.

    The matrix maps stored to shown places: x' = a x + c y and y' = b x + d y.
    """
    side_data: Any = frame.side_data
    data = side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return Turn()
    a, b, _, c, d = struct.unpack_from("=5i", data)
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Turn(transposed=True, mirrored=c < 0, flipped=b < 0)
    return Turn(mirrored=a < 0, flipped=d < 0)


def shown_size(frame: VideoFrame, pixel_aspect: Fraction, turn: Turn) -> tuple[int, int]:
    """Width and height as shown, in square pixels; the number of stored lines is kept."""
    shown = max(round(frame.width * pixel_aspect), 1), frame.height
    return (shown[1], shown[0]) if turn.transposed else shown


def middle(part: Rect, pixel_aspect: Fraction, aspect: Fraction) -> Rect:
    """The largest part in the middle of `part` that is shown with this aspect (width by height)."""
    if part.width * pixel_aspect > part.height * aspect:
        width = min(max(round(part.height * aspect / pixel_aspect), 1), part.width)
        return Rect(part.x + (part.width - width) // 2, part.y, width, part.height)
    height = min(max(round(part.width * pixel_aspect / aspect), 1), part.height)
    return Rect(part.x, part.y + (part.height - height) // 2, part.width, height)


def has_alpha(pixel_format: str) -> bool:
    """Whether a picture of this FFmpeg format carries transparency (a palette may, and is not counted)."""
    return pixel_format.startswith(("yuva", "gbrap", "rgba", "bgra", "argb", "abgr", "ya8", "ya16", "ayuv", "vuya"))
