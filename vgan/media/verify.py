"""What a file says of its making: its tags, its C2PA manifest, and the watermark in its pixels.

Shape suffixes: H height, W width, C = 3 colours (RGB, uint8).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ..errors import BadInputError, StorageError
from .decode import Decoder, Sampling
from .manifest import Manifest, read_manifest
from .provenance import read_marking, read_marks
from .stream import VideoError
from .watermark import THRESHOLD, Detector
from .xmp import marking_of, read_xmp

Uint8 = npt.NDArray[np.uint8]

MOST_SECONDS = 60.0  # of a video that are searched for the watermark
MOST_FRAMES = 10_000  # of a gif or an array
LARGEST = 512  # longer side, in pixels, at which frames are searched: the mark is in large patterns
EVERY_FRAME = 500.0  # frames per second, of which none is left out
_STARTS = {
    **{b"GIF87a": "gif", b"GIF89a": "gif", b"\x89PNG\r\n\x1a\n": "png", b"\x93NUMPY": "npy"},
    **{b"\x1a\x45\xdf\xa3": "webm"},
}


@dataclass(frozen=True)
class Watermark:
    """What a search for the watermark came to."""

    score: float  # standard deviations of chance
    threshold: float  # above it the file is marked
    frames: int  # that were looked at

    @property
    def found(self) -> bool:
        """Whether the pixels say "made by vgan"."""
        return self.score >= self.threshold


@dataclass(frozen=True)
class Verified:
    """All that a file says of its making."""

    kind: str  # "mp4" (and mov), "webm" (and mkv), "gif", "png" or "npy"
    tags: dict[str, str]  # vgan's own, of the container, of XMP, or of the .json beside an array
    marks: tuple[str, ...]  # what else speaks of a trained model, as `provenance.read_marks` names it
    manifest: Manifest
    watermark: Watermark

    @property
    def synthetic(self) -> bool:
        """Whether anything says that a trained model made it."""
        told = bool(self.tags) or {"iptc-ai", "c2pa-ai"} & set(self.marks) or self.manifest.synthetic
        return bool(told) or self.watermark.found


def verify_media(path: Path, trusted: bytes | None = None) -> Verified:
    """Look for all three marks in a file.

    Args:
        path: of an mp4, mov, webm, mkv, gif, png, or npy (uint8 [T, H, W, 3]).
        trusted: PEM certificates whose signatures count as trusted, beside those that c2pa-python knows.

    Raises:
        BadInputError: it is no such file, or damaged.
        StorageError: it cannot be read.
    """
    kind = kind_of(path)
    tags, marks = _told(path, kind)
    watermark = find_watermark(path, kind)
    return Verified(kind, tags, marks, read_manifest(path, kind, trusted), watermark)


def kind_of(path: Path) -> str:
    """The kind of a file by its first bytes, whatever its name; raises as `verify_media`."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise BadInputError(f"{path} is not a file.")
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise StorageError(f"reading {path} failed: {error.strerror}.") from error
    if head[4:8] == b"ftyp":
        return "mp4"
    for start, kind in _STARTS.items():
        if head.startswith(start):
            return kind
    raise BadInputError(f"{path} is no mp4, mov, webm, gif, png or npy file.")


def _told(path: Path, kind: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """vgan's tags, and marks that anybody may have made."""
    if kind in ("mp4", "webm"):
        tags = read_marking(path)
        return tags, read_marks(path, tags)
    if kind == "npy":
        return _beside(path.with_name(path.name + ".json")), ()
    packet = read_xmp(path, kind)
    tags = marking_of(packet)
    return tags, read_marks(path, {"xmp": packet})


def _beside(path: Path) -> dict[str, str]:
    """The tags in the file beside an array; {} when there is none."""
    try:
        told: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(told, dict) or "digitalSourceType" not in told:
        return {}
    found = cast(dict[str, Any], told)
    return {key: str(value) for key, value in found.items() if key == "digitalSourceType" or key.startswith("vgan_")}


def find_watermark(path: Path, kind: str) -> Watermark:
    """Search the pixels of a file of `kind`, as `kind_of` names it; raises as `verify_media`."""
    detector = Detector()
    try:
        for frame_HWC in _FRAMES[kind](path):
            detector.add(frame_HWC)
    except VideoError as error:
        raise BadInputError(f"{path} cannot be decoded: {error.detail}.") from error
    except (ValueError, EOFError, OSError) as error:  # of numpy and pillow
        raise BadInputError(f"{path} is damaged: {error}.") from error
    return Watermark(round(detector.score(), 2), THRESHOLD, detector.frames)


def _video_frames(path: Path) -> Iterator[Uint8]:
    look = Decoder(path, Sampling(EVERY_FRAME, 2, 2, max_seconds=0.01))
    for _ in look:
        pass
    shrink = min(1.0, LARGEST / max(look.info.width, look.info.height))
    height, width = (max(1, round(side * shrink)) for side in (look.info.height, look.info.width))
    for frame in Decoder(path, Sampling(EVERY_FRAME, height, width, max_seconds=MOST_SECONDS)):
        yield frame.pixels_CHW.transpose(1, 2, 0)


def _image_frames(path: Path) -> Iterator[Uint8]:
    from PIL import Image, ImageSequence

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=("GIF", "PNG")) as image:
                for place, frame in enumerate(ImageSequence.Iterator(image)):
                    if place == MOST_FRAMES:
                        return
                    yield np.asarray(frame.convert("RGB"))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ValueError("its picture is too large") from error


def _array_frames(path: Path) -> Iterator[Uint8]:
    clip_THWC = np.load(path, mmap_mode="r", allow_pickle=False)
    if clip_THWC.dtype != np.uint8 or clip_THWC.ndim != 4 or clip_THWC.shape[3] != 3 or 0 in clip_THWC.shape:
        raise ValueError(f"it holds {clip_THWC.dtype} {list(clip_THWC.shape)}, not uint8 [T, H, W, 3]")
    yield from clip_THWC[:MOST_FRAMES]


_FRAMES = {
    "mp4": _video_frames,
    "webm": _video_frames,
    "gif": _image_frames,
    "png": _image_frames,
    "npy": _array_frames,
}
