"""How the pixels of one clip become the bytes of one member of a shard, and back.

* npy: uint8 [C, T, H, W] as numpy writes it, exact.
* jpg: the frames below one another in one picture, quality 95. Colour keeps its full resolution: at 128 px that
  costs a quarter more bytes than 4:2:0, and the worst of real clips stays at 41 dB instead of 25.
* mp4: H.264 at crf 18, BT.709 in limited range, one thread and only bit-exact arithmetic. 'veryfast' makes files
  of the size and the fidelity of 'medium' in half the time. x264 must not look ahead: below 128 px its search in
  halved frames reads memory that nobody wrote, and equal clips become other bytes.

What is read comes out of a file that anybody may have written: sizes are checked before anything is decoded,
and nothing but these three formats is tried.

Shape suffixes: C = 3 colours (RGB, uint8), T frames, H height, W width.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import CorruptDataError

Kind = Literal["npy", "jpg", "mp4"]
Uint8 = npt.NDArray[np.uint8]
Payload = bytes | bytearray | memoryview

KINDS: tuple[Kind, ...] = ("npy", "jpg", "mp4")
NPY_HEADER = 128  # bytes before the pixels of an npy
QUALITY = 95  # of a jpeg
X264 = {"crf": "18", "preset": "veryfast", "x264-params": "rc-lookahead=0:mbtree=0:weightp=0:scenecut=0:b-adapt=0"}
RATE_LIMIT = 65_535  # largest number in the fraction of an mp4's frame rate
BT709, LIMITED = 1, 1  # as H.264 and FFmpeg number them
GBR = (1, 2, 0)  # colours of a clip in the order of FFmpeg's planar RGB
_BIT_EXACT = "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_TO_VIDEO = f"out_color_matrix=bt709:out_range=tv:flags=area+{_BIT_EXACT}"
_TO_RGB = f"in_color_matrix=bt709:in_range=tv:out_range=pc:flags=bicubic+{_BIT_EXACT}"


def encode_clip(clip_CTHW: Uint8, kind: Kind, fps: float) -> bytes:
    """The payload of a clip: equal pixels, equal bytes.

    Args:
        clip_CTHW: uint8 [3, T, H, W], H and W even.
        kind: of the payload.
        fps: frames per second, which only an mp4 keeps.
    """
    if kind == "npy":
        return npy_header(clip_CTHW.shape) + clip_CTHW.tobytes()
    return _encode_jpg(clip_CTHW) if kind == "jpg" else _encode_mp4(clip_CTHW, fps)


def decode_clip(payload: Payload, kind: Kind, out_CTHW: Uint8) -> None:
    """Decode a payload into an array, whose shape [3, T, H, W] it must have.

    Raises:
        CorruptDataError: it is not a whole clip of this kind and shape.
    """
    if kind == "npy":
        _decode_npy(payload, out_CTHW)
    elif kind == "jpg":
        _decode_jpg(payload, out_CTHW)
    else:
        _decode_mp4(payload, out_CTHW)


def _not_a_clip(kind: Kind, out_CTHW: Uint8, why: object) -> CorruptDataError:
    _, frames, height, width = out_CTHW.shape
    return CorruptDataError(f"not a .{kind} of {frames} frames of {width} x {height} pixels: {why}.")


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The 128 bytes before the pixels of a uint8 array of this shape, in C order: version 1.0 of the format, no pickle.

    Written and compared here, because numpy's own may be padded otherwise in another version, and its reader
    parses what a file says as Python.
    """
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {tuple(map(int, shape))}, }}"
    return b"\x93NUMPY\x01\x00" + (NPY_HEADER - 10).to_bytes(2, "little") + text.encode().ljust(NPY_HEADER - 11) + b"\n"


def _decode_npy(payload: Payload, out_CTHW: Uint8) -> None:
    if len(payload) != NPY_HEADER + out_CTHW.nbytes or payload[:NPY_HEADER] != npy_header(out_CTHW.shape):
        raise _not_a_clip("npy", out_CTHW, f"{len(payload)} bytes that do not begin with its header")
    out_CTHW[...] = np.frombuffer(payload, np.uint8, offset=NPY_HEADER).reshape(out_CTHW.shape)


def _encode_jpg(clip_CTHW: Uint8) -> bytes:
    from PIL import Image

    colours, frames, height, width = clip_CTHW.shape
    strips = np.ascontiguousarray(clip_CTHW).reshape(colours, frames * height, width)
    bands = [Image.frombuffer("L", (width, frames * height), strip, "raw", "L", 0, 1) for strip in strips]
    buffer = io.BytesIO()
    Image.merge("RGB", bands).save(buffer, "JPEG", quality=QUALITY, subsampling="4:4:4")
    return buffer.getvalue()


def _decode_jpg(payload: Payload, out_CTHW: Uint8) -> None:
    from PIL import Image

    _, frames, height, width = out_CTHW.shape
    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(payload), formats=("JPEG",)) as image:
            if (image.format, image.mode, image.size) != ("JPEG", "RGB", (width, frames * height)):
                raise ValueError(f"a {image.format} of {image.size[0]} x {image.size[1]} pixels, {image.mode}")
            for colour_THW, name in zip(out_CTHW, "RGB", strict=True):
                # Pillow's packers take one colour out of the interleaved ones, faster than numpy's strides.
                band = image.tobytes("raw", name)
                colour_THW[...] = np.frombuffer(band, np.uint8).reshape(frames, height, width)
    except (OSError, ValueError, SyntaxError, *bombs) as error:
        raise _not_a_clip("jpg", out_CTHW, error) from error


def _encode_mp4(clip_CTHW: Uint8, fps: float) -> bytes:
    import av
    from av.codec.context import Flags

    _, frames, height, width = clip_CTHW.shape
    rate = Fraction(fps).limit_denominator(RATE_LIMIT)
    buffer = io.BytesIO()
    opened: Any = av.open(buffer, "w", format="mp4", container_options={"fflags": "+bitexact"})
    with opened as container:
        stream = container.add_stream("libx264", rate=rate, options=X264)
        codec = stream.codec_context
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.thread_count, codec.time_base = 1, 1 / rate
        codec.flags |= Flags.bitexact
        codec.colorspace = codec.color_primaries = codec.color_trc = BT709
        codec.color_range = LIMITED
        source = f"video_size={width}x{height}:pix_fmt=gbrp:time_base={1 / rate}:colorspace=gbr:range=pc"
        scaler = _Scaler(source, _TO_VIDEO, "yuv420p")
        for number in range(frames):
            frame: Any = av.VideoFrame(width, height, "gbrp")
            for plane, colour in zip(_planes(frame), GBR, strict=True):
                plane[:, :width] = clip_CTHW[colour, number]
            frame.pts, frame.time_base = number, 1 / rate
            for packet in stream.encode(scaler(frame)):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return buffer.getvalue()


def _decode_mp4(payload: Payload, out_CTHW: Uint8) -> None:
    from av.error import FFmpegError

    _, frames, _, width = out_CTHW.shape
    decoded = 0
    try:
        for decoded, frame in enumerate(_mp4_frames(payload, out_CTHW), 1):
            if decoded > frames:
                raise ValueError("it has more frames")
            for plane, colour in zip(_planes(frame), GBR, strict=True):
                out_CTHW[colour, decoded - 1] = plane[:, :width]
        if decoded < frames:
            raise ValueError(f"it has {decoded} frames")
    except (FFmpegError, OSError, ValueError, IndexError) as error:
        raise _not_a_clip("mp4", out_CTHW, error) from error


def _mp4_frames(payload: Payload, out_CTHW: Uint8) -> Iterator[Any]:
    """The frames of an mp4 in planar RGB; raises ValueError for what this module does not write."""
    import av

    *_, height, width = out_CTHW.shape
    opened: Any = av.open(io.BytesIO(payload), "r", format="mp4")
    with opened as container:
        stream: Any = container.streams[0] if len(container.streams) == 1 else None
        codec = getattr(stream, "codec_context", None)  # None for a codec that FFmpeg does not know
        if codec is None or codec.name != "h264":
            raise ValueError("it is not one stream of H.264")
        stream.thread_type = "NONE"
        codec.thread_count, codec.options = 1, {"err_detect": "explode"}
        source = f"video_size={width}x{height}:pix_fmt=yuv420p:time_base={stream.time_base}:colorspace=bt709:range=tv"
        if (codec.width, codec.height) != (width, height):
            raise ValueError(f"its frames are {codec.width} x {codec.height}")
        scaler = _Scaler(source, _TO_RGB, "gbrp")
        for frame in container.decode(stream):
            if (frame.width, frame.height, frame.format.name) != (width, height, "yuv420p"):
                raise ValueError(f"a frame is {frame.width} x {frame.height}, {frame.format.name}")
            yield scaler(frame)


class _Scaler:
    """FFmpeg's `scale` filter, which unlike PyAV's reformatter can be told to be exact on every machine."""

    def __init__(self, source: str, scale: str, pixels: str) -> None:
        from av.filter import Graph

        self.graph: Any = Graph()
        links = [
            self.graph.add("buffer", f"{source}:pixel_aspect=1/1"),
            self.graph.add("scale", scale),
            self.graph.add("format", f"pix_fmts={pixels}"),
            self.graph.add("buffersink"),
        ]
        for before, after in pairwise(links):
            before.link_to(after)
        self.graph.configure()

    def __call__(self, frame: Any) -> Any:
        self.graph.push(frame)
        return self.graph.pull()


def _planes(frame: Any) -> list[Uint8]:
    """The planes of a frame as arrays [H, line], which share its memory; a line may be longer than the width."""
    return [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height] for plane in frame.planes]
