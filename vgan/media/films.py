"""Frames to films: mp4, webm and gif, by ffmpeg; equal frames give equal bytes.

Shape suffixes: T frames, H height, W width, C = 3 colours (RGB, uint8).
This module travels in the packaged model: it needs numpy, ffmpeg-python, the standard library and its
neighbours only.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, StorageError
from .codecs import Encoder, encoder_for
from .ffmpeg import file_url, run

Uint8 = npt.NDArray[np.uint8]
ENCODE_SECONDS = 600.0
GIF_FPS = 50.0  # a gif counts in hundredths of a second, and viewers slow down whatever takes only one
# What newer versions take from the frames, ffmpeg 5 takes from options.
_COLOUR = {"color_primaries": "bt709", "color_trc": "bt709"}
_VIDEO: dict[str, Any] = {
    **{"pix_fmt": "yuv420p", "colorspace": "bt709", **_COLOUR, "color_range": "tv"},
    **{"flags:v": "+bitexact", "map_metadata": -1},
}
_CONTAINER: dict[str, dict[str, Any]] = {
    "mp4": {**_VIDEO, "movflags": "+faststart+use_metadata_tags", "format": "mp4"},
    "webm": {**_VIDEO, "format": "webm"},
    "gif": {"format": "gif"},
}


def film_bytes(
    frames_THWC: Uint8,
    fps: float,
    container: str = "mp4",
    encoder: Encoder | None = None,
    tags: Mapping[str, str] | None = None,
) -> bytes:
    """A film that players and browsers open.

    Args:
        frames_THWC: uint8 [T, H, W, 3]; height and width must be even, but for a gif.
        fps: frames per second.
        container: "mp4", "webm" or "gif" (endless; each frame has a palette of its own).
        encoder: as `encoder_for` finds it; None takes the container's usual one.
        tags: container metadata, such as that of `provenance.synthetic_metadata`; a gif holds none.

    Raises:
        ConfigError: the frames have another type or shape, an odd size, or are too many a second for a gif.
        MissingToolError: this ffmpeg cannot write such a file.
        StorageError: ffmpeg failed, with its message.
    """
    check_film(*check_frames(frames_THWC), fps, container)
    encoder = encoder or encoder_for(container)
    options = {"c:v": encoder.name, **encoder.options, **_CONTAINER[container]}
    if container == "gif":
        return _encode(frames_THWC, _with_palettes(frames_THWC, fps), options, ())
    # Tagged BT.709, limited range: a player that guesses BT.601 for small pictures would shift the colours.
    frames = (
        _raw_input(frames_THWC, fps)
        .filter("scale", out_color_matrix="bt709", out_range="tv", flags="bicubic+accurate_rnd+full_chroma_inp")
        .filter("setparams", **_COLOUR)
    )
    words = [text for key, value in sorted((tags or {}).items()) for text in ("-metadata", f"{key}={value}")]
    return _encode(frames_THWC, frames, options, words)


def check_frames(frames_THWC: Uint8) -> tuple[int, int]:
    """Height and width of frames; raises ConfigError when they are not uint8 [T, H, W, 3], or none."""
    shape = frames_THWC.shape
    if frames_THWC.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise ConfigError(f"frames must be uint8 [T, H, W, 3], not {frames_THWC.dtype} {list(shape)}.")
    return shape[1], shape[2]


def check_film(height: int, width: int, fps: float, container: str) -> None:
    """Raise ConfigError when no film of this size and rate can be in `container`."""
    if container == "gif" and fps > GIF_FPS:
        raise ConfigError(f"a gif shows at most {GIF_FPS:g} frames per second, not {fps:g}.", hint="Write mp4 or webm.")
    if container != "gif" and (height % 2 or width % 2):
        raise ConfigError(f"a video of {width} x {height} cannot be encoded in 4:2:0: both sides must be even.")


def _argument_builder() -> Any:
    """ffmpeg-python, which has no types; it builds arguments here and starts nothing."""
    return importlib.import_module("ffmpeg")


def _raw_input(frames_THWC: Uint8, fps: float) -> Any:
    """The stream of frames that is fed through a pipe."""
    _, height, width, _ = frames_THWC.shape
    raw = {"format": "rawvideo", "pix_fmt": "rgb24", "video_size": (width, height), "framerate": repr(float(fps))}
    return _argument_builder().input("pipe:0", **raw)


def _with_palettes(frames_THWC: Uint8, fps: float) -> Any:
    """Each frame in the 256 colours that suit it; one palette for all would wait for the last frame."""
    shown = _raw_input(frames_THWC, fps).filter_multi_output("split")
    palette = shown[0].filter("palettegen", reserve_transparent=0, stats_mode="single")
    return _argument_builder().filter([shown[1], palette], "paletteuse", dither="none", new=1)


def _encode(frames_THWC: Uint8, stream: Any, options: Mapping[str, Any], tags: Sequence[str]) -> bytes:
    """Run ffmpeg over `stream` with the output's options; `tags` are more of them, which can repeat."""
    _, height, width, _ = frames_THWC.shape
    # mp4 and gif are finished by going back in the file, so they cannot go through a pipe.
    with tempfile.TemporaryDirectory(prefix="vgan-encode-") as folder:
        target = Path(folder) / "clip"
        output = stream.output("clip", fflags="+bitexact", threads=1, **options)
        # Put in afterwards: ffmpeg-python hashes its words as UTF-8, which not every name and tag is.
        arguments = ["-loglevel", "level+error", *output.get_args()[:-1], *tags, file_url(target)]
        frames = (frame_HWC.tobytes() for frame_HWC in np.ascontiguousarray(frames_THWC))
        _, finished = run(arguments, timeout=ENCODE_SECONDS, feed=frames)
        if finished.returncode or not target.exists():
            raise StorageError(f"ffmpeg could not encode {width} x {height} frames: {finished.first_error}")
        return target.read_bytes()
