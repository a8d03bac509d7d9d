"""Take one video: decode it, choose its clips, and write their payloads. Runs in a decoding worker.

Shape suffixes: N frames of a video, C = 3 colours (RGB, uint8), H height, W width.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...errors import StorageError
from ...media.child import printable
from ...media.decode import Decoder, Sampling, StreamInfo, VideoError
from ...media.provenance import read_marks
from ...storage import sha256_file, storage_errors
from ..files.names import path_of, text_of
from ..shards.formats import encode_clip
from .clips import Cutting, Timeline, cut_windows, why_no_clip
from .fingerprint import fingerprint_of, thumb_of
from .frames import FrameStore
from .taken import Refused, TakenClip, TakenVideo, TakeRequest

if TYPE_CHECKING:
    from ...config import IngestConfig

Uint8 = npt.NDArray[np.uint8]

HASHED_EVERY = 8  # of how many frames one is part of the content digest with all its pixels
MOST_THUMBS = 1 << 16  # for the fingerprint; of a longer video every second, fourth, ... frame
AGAIN = ("vanished", "changed_during_read")  # no property of the video: another ingest may find it well


def take_video(request: TakeRequest) -> TakenVideo | Refused:
    """Take the video that is asked for; the payloads of its clips are left in the spool, in order.

    Raises:
        StorageError: the spool cannot be written.
        MissingToolError: what the format of the clips needs is not installed.
    """
    path, spool = Path(path_of(request.path)), Path(path_of(request.spool))
    try:
        return _take(request, path, spool)
    except VideoError as error:
        spool.unlink(missing_ok=True)
        detail = text_of(printable(error.detail))
        return Refused(reason=error.reason, detail=detail, again=error.reason in AGAIN)
    except BaseException:
        spool.unlink(missing_ok=True)
        raise


def _take(request: TakeRequest, path: Path, spool: Path) -> TakenVideo:
    """Decode, and once more when the file was another one afterwards than before."""
    before = request.digest_sha256
    for _ in range(2):
        _check_file(path)
        outcome = _decoded(request.config, path, spool)
        try:
            after = sha256_file(path)
        except StorageError as error:
            raise VideoError("vanished", error.message) from error
        if after != before:
            before = after
            continue
        if isinstance(outcome, VideoError):
            raise outcome
        return replace(outcome, digest_sha256=after)
    raise VideoError("changed_during_read", "it was changed while it was read, and again while it was read once more")


def _check_file(path: Path) -> None:
    """Refuse what must not be opened; the folder may have changed since it was listed."""
    try:
        status = path.stat()
    except OSError as error:
        raise VideoError("vanished", error.strerror or str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError("not_regular", "it is not a regular file")
    if status.st_size == 0:
        raise VideoError("empty", "the file has no bytes")


def _decoded(config: IngestConfig, path: Path, spool: Path) -> TakenVideo | VideoError:
    """The video as the file is now; its digest is left to be filled in."""
    sampling = Sampling(config.fps, config.height, config.width, config.crop, config.max_seconds)
    decoder = Decoder(path, sampling)
    timeline, looks = Timeline(), _Looks()

    def look(cells: Sequence[int], seconds: Sequence[float], block_NCHW: Uint8) -> None:
        timeline.extend(cells, seconds, block_NCHW)
        looks.extend(cells, block_NCHW)

    try:
        with FrameStore(spool, config.height, config.width, look) as frames:
            for frame in decoder:
                frames.add(frame.cell, frame.seconds, frame.pixels_CHW)
            frames.flush()
            marks = read_marks(path, decoder.info.tags)
            if config.exclude_synthetic and any(mark.endswith("-ai") for mark in marks):
                raise VideoError("synthetic", f"it says that it is AI-generated ({', '.join(marks)})")
            cutting = cut_windows(timeline, config)
            if not cutting.windows:
                raise VideoError(*why_no_clip(timeline, cutting, config))
            clips = _write_clips(spool, frames, cutting, config)
        return _record(path.stat().st_size, decoder.info, tuple(marks), timeline, looks, cutting, clips, config)
    except VideoError as error:
        return error
    except OSError as error:  # of the video; those of the spool are StorageErrors
        return VideoError("vanished", error.strerror or str(error))


def _write_clips(spool: Path, frames: FrameStore, cutting: Cutting, config: IngestConfig) -> tuple[TakenClip, ...]:
    clips: list[TakenClip] = []
    offset = 0
    with storage_errors(spool, "writing"), open(spool, "wb", buffering=0) as file:
        for window in cutting.windows:
            payload = encode_clip(frames.clip(window.first, config.frames), config.stored_format, config.fps)
            if (written := file.write(payload)) != len(payload):  # all that a disk that is nearly full took
                file.write(memoryview(payload)[written:])
            seconds = round(window.seconds, 6)
            clips.append(
                TakenClip(
                    offset=offset,
                    size=len(payload),
                    start_seconds=seconds,
                    scene=window.scene,
                    statistics=window.statistics,
                )
            )
            offset += len(payload)
    return tuple(clips)


def _record(
    size_bytes: int,
    info: StreamInfo,
    marks: tuple[str, ...],
    timeline: Timeline,
    looks: _Looks,
    cutting: Cutting,
    clips: tuple[TakenClip, ...],
    config: IngestConfig,
) -> TakenVideo:
    return TakenVideo(
        digest_sha256="",
        size_bytes=size_bytes,
        content=looks.content.hexdigest(),
        fingerprint=looks.fingerprint(),
        marks=marks,
        codec=info.codec,
        width=info.width,
        height=info.height,
        fps=info.fps,
        seconds=round(info.seconds or timeline.seconds[-1] + 1 / config.fps, 6),
        colour=info.colour,
        treatment=tuple(info.treatment),
        frames_decoded=info.frames_decoded,
        decode_errors=info.decode_errors,
        clips=clips,
        left_out=cutting.left_out,
    )


class _Looks:
    """What a video looks like: the digest by which a remux is found, and thumbnails for the fingerprint."""

    def __init__(self) -> None:
        self.content = hashlib.sha256()
        self.count = 0
        self.every = 1
        self.cells: list[int] = []
        self.thumbs: list[Uint8] = []

    def extend(self, cells: Sequence[int], frames_NCHW: Uint8) -> None:
        """Append frames. Hashing all pixels of all frames would cost as much as all else together."""
        for cell, pixels_CHW in zip(cells, frames_NCHW, strict=True):
            thumb = thumb_of(pixels_CHW)
            self.content.update(b"%d " % cell + thumb.tobytes())
            if self.count % HASHED_EVERY == 0:
                self.content.update(pixels_CHW.data)
            if self.count % self.every == 0:
                if len(self.thumbs) == MOST_THUMBS:
                    self.every *= 2
                    del self.thumbs[1::2], self.cells[1::2]
                self.thumbs.append(thumb)
                self.cells.append(cell)
            self.count += 1

    def fingerprint(self) -> str:
        return fingerprint_of(np.stack(self.thumbs), self.cells)
