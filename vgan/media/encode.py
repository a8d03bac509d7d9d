"""Frames to files that a person opens: mp4, gif, png, and the contact sheet.

Shape suffixes: N clips, T frames, H height, W width, C = 3 colours (RGB, uint8).
This module travels in the packaged model: it needs numpy, ffmpeg-python, the standard library and its
neighbours only.
"""

from __future__ import annotations

import importlib
import struct
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, StorageError
from ..storage import write_atomic
from .ffmpeg import file_url, run

Uint8 = npt.NDArray[np.uint8]
ENCODE_SECONDS = 600.0
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
    height, width = _check(frames_THWC)
    if height % 2 or width % 2:
        raise ConfigError(f"a video of {width} x {height} cannot be H.264 4:2:0: both sides must be even.")
    tags = [text for key, value in sorted((metadata or {}).items()) for text in ("-metadata", f"{key}={value}")]
    # Tagged BT.709, limited range: a player that guesses BT.601 for small pictures would shift the colours.
    colour = {"color_primaries": "bt709", "color_trc": "bt709"}
    frames = (
        _raw_input(frames_THWC, fps)
        .filter("scale", out_color_matrix="bt709", out_range="tv", flags="bicubic+accurate_rnd+full_chroma_inp")
        .filter("setparams", **colour)
    )
    options = {
        **{"c:v": "libx264", "preset": "medium", "crf": crf, "pix_fmt": "yuv420p"},
        # What newer versions take from the frames, ffmpeg 5 takes from options.
        **{"colorspace": "bt709", **colour, "color_range": "tv"},
        **{"flags:v": "+bitexact", "map_metadata": -1},
        **{"movflags": "+faststart+use_metadata_tags", "format": "mp4"},
    }
    return _encode(frames_THWC, frames, options, tags)


def write_mp4(path: Path, frames_THWC: Uint8, fps: float, metadata: Mapping[str, str] | None = None) -> None:
    """Write `mp4_bytes` under its final name, whole or not at all."""
    write_atomic(path, mp4_bytes(frames_THWC, fps, metadata))


def write_gif(path: Path, frames_THWC: Uint8, fps: float) -> None:
    """Write an endless gif with a palette of its own, whole or not at all; `frames_THWC` as for `mp4_bytes`."""
    _check(frames_THWC)
    ffmpeg = _argument_builder()
    shown = _raw_input(frames_THWC, fps).filter_multi_output("split")
    palette = shown[0].filter("palettegen", reserve_transparent=0)
    frames = ffmpeg.filter([shown[1], palette], "paletteuse", dither="none")
    write_atomic(path, _encode(frames_THWC, frames, {"loop": 0, "format": "gif"}))


def png_bytes(image_HWC: Uint8) -> bytes:
    """An RGB png of uint8 [H, W, 3]."""
    height, width = _check(image_HWC[None])
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image_HWC.reshape(height, width * 3)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, content) for kind, content in chunks)


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(path: Path, image_HWC: Uint8) -> None:
    """Write `png_bytes` under its final name, whole or not at all."""
    write_atomic(path, png_bytes(image_HWC))


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
    shown = [place * (length - 1) // max(1, min(frames, length) - 1) for place in range(min(frames, length))]
    zoom = max(1, tile // min(height, width))
    clips = clips[:, shown].repeat(zoom, axis=2).repeat(zoom, axis=3)
    clips = np.pad(clips, ((0, 0), (0, 0), (0, 4), (0, 1), (0, 0)), constant_values=GUTTER)
    strips = clips.transpose(0, 2, 1, 3, 4).reshape(num, height * zoom + 4, -1, 3)
    strips = np.pad(strips, ((0, -num % columns), (0, 0), (0, 12), (0, 0)), constant_values=GUTTER)
    grid = strips.reshape(-1, columns, *strips.shape[1:]).transpose(0, 2, 1, 3, 4)
    sheet = grid.reshape(-1, columns * strips.shape[2], 3)
    return np.ascontiguousarray(sheet[:-4, :-13])


def _check(frames_THWC: Uint8) -> tuple[int, int]:
    shape = frames_THWC.shape
    if frames_THWC.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise ConfigError(f"frames must be uint8 [T, H, W, 3], not {frames_THWC.dtype} {list(shape)}.")
    return shape[1], shape[2]


def _argument_builder() -> Any:
    """ffmpeg-python, which has no types; it builds arguments here and starts nothing."""
    return importlib.import_module("ffmpeg")


def _raw_input(frames_THWC: Uint8, fps: float) -> Any:
    """The stream of frames that is fed through a pipe."""
    _, height, width, _ = frames_THWC.shape
    raw = {"format": "rawvideo", "pix_fmt": "rgb24", "video_size": (width, height), "framerate": repr(float(fps))}
    return _argument_builder().input("pipe:0", **raw)


def _encode(frames_THWC: Uint8, stream: Any, options: Mapping[str, Any], tags: Sequence[str] = ()) -> bytes:
    """Run ffmpeg over `stream` with the output's options; `tags` are more of them, which can repeat."""
    _, height, width, _ = frames_THWC.shape
    # mp4 and gif are finished by going back in the file, so they cannot go through a pipe.
    with tempfile.TemporaryDirectory(prefix="vgan-encode-") as folder:
        target = Path(folder) / "clip"
        output = stream.output("clip", fflags="+bitexact", threads=1, **options)
        # Put in afterwards: ffmpeg-python hashes its words as UTF-8, which not every name and tag is.
        arguments = ["-loglevel", "level+error", *output.get_args()[:-1], *tags, file_url(target)]
        _, finished = run(arguments, timeout=ENCODE_SECONDS, feed=[np.ascontiguousarray(frames_THWC).tobytes()])
        if finished.returncode or not target.exists():
            raise StorageError(f"ffmpeg could not encode {width} x {height} frames: {finished.first_error}")
        return target.read_bytes()
