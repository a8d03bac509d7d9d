"""One batch of videos: decode, cut, split, write shards, and the record that commits it.

A bad video never fails a batch: it is rejected with a reason. What a batch writes depends on its plan and on
the sides that groups of videos already have, not on the number of workers. Pixels wait in temporary files, so
memory does not grow with the length of the videos.

Shape suffixes: N frames of a video, T frames of a clip, H height, W width, C = 3 colours (RGB, uint8).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ..config import IngestConfig
from ..errors import StorageError
from ..media.decode import Decoder, VideoError
from ..media.ffmpeg import find_ffmpeg
from ..media.probe import StreamInfo
from ..progress import Progress, silent
from ..records import Batch, Rejection, Split, Video
from ..storage import fault_point, read_bytes, sha256_file, storage_errors, write_atomic
from ..workspace import DatasetFolder, Workspace
from .clips import Cutting, Timeline, clip_of, clip_statistics, cut_windows, why_no_clip
from .manifest import batch_problems, current_version
from .names import path_of, text_of
from .plan import BatchPlan, Source, recipe
from .shards import NAME_DIGITS, Sample, write_shards
from .split import group_of, split_groups


@dataclass(frozen=True)
class _Taken:
    """A decoded video whose pixels wait in a temporary file."""

    source: Source
    info: StreamInfo
    content: str
    seconds: float
    frames: int
    cutting: Cutting
    spool: Path


def ingest_batch(
    workspace: Workspace,
    name: str,
    config: IngestConfig,
    plan: BatchPlan,
    *,
    workers: int | None = None,
    progress: Progress = silent,
) -> Batch:
    """Do one batch of a plan, or find it done: a record whose shards are sound is returned as it is.

    Args:
        workspace: where the dataset lies.
        name: of the dataset.
        config: the config that the plan was made with.
        plan: one of `IngestPlan.batches`.
        workers: videos decoded at a time; None takes one for each core.
        progress: told after each video.

    Raises:
        MissingToolError: there is no ffmpeg.
        StorageError: shards cannot be written.
    """
    folder = workspace.dataset(name)
    known = _known_sides(folder, config, plan)
    if done := _finished(folder, plan, known):
        progress(len(plan.sources), len(plan.sources), "done before")
        return done
    find_ffmpeg()
    with storage_errors(folder.shards, "creating"):
        folder.shards.mkdir(parents=True, exist_ok=True)
    outcomes: list[_Taken | Rejection] = []
    try:
        outcomes = _decode_all(folder, config, plan, workers, progress)
        taken = [outcome for outcome in outcomes if isinstance(outcome, _Taken)]
        rejections = [outcome for outcome in outcomes if isinstance(outcome, Rejection)]
        batch = _write(folder, config, plan, taken, rejections, known)
    finally:
        for path in folder.shards.glob(f".tmp-{os.getpid()}-{plan.key[:8]}-*"):
            path.unlink(missing_ok=True)
    fault_point("before_batch")
    write_atomic(folder.batch(plan.key), batch.to_json())
    return batch


def _known_sides(folder: DatasetFolder, config: IngestConfig, plan: BatchPlan) -> dict[str, Split]:
    """Sides that groups have: in the current version, and in the plan's first batch."""
    videos: list[Video] = []
    base = current_version(folder)
    if base and recipe(base.config) == recipe(config):
        videos += base.videos
    if plan.first and folder.batch(plan.first).exists():
        videos += Batch.from_json(read_bytes(folder.batch(plan.first)), str(folder.batch(plan.first))).videos
    return {video.group: video.split for video in videos}


def _finished(folder: DatasetFolder, plan: BatchPlan, known: dict[str, Split]) -> Batch | None:
    path = folder.batch(plan.key)
    if not path.exists():
        return None
    batch = Batch.from_json(read_bytes(path), str(path))
    fits = all(known.get(video.group, video.split) == video.split for video in batch.videos)
    if plan.ensure_heldout and not any(video.split == "heldout" for video in batch.videos):
        fits = fits and len({video.group for video in batch.videos}) < 2
    return batch if fits and not batch_problems(folder, batch) else None


def _decode_all(
    folder: DatasetFolder, config: IngestConfig, plan: BatchPlan, workers: int | None, progress: Progress
) -> list[_Taken | Rejection]:
    """Outcomes in the order of the plan's sources, whatever the order of work."""
    stop = threading.Event()
    total = len(plan.sources)
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="decode")
    try:
        futures = [pool.submit(_take, folder, config, plan, source, stop) for source in plan.sources]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            progress(done, total, "decoding")
        return [future.result() for future in futures]
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _take(
    folder: DatasetFolder, config: IngestConfig, plan: BatchPlan, source: Source, stop: threading.Event
) -> _Taken | Rejection:
    path = Path(path_of(plan.root)) / path_of(source.paths[0])
    spool = folder.shards / f".tmp-{os.getpid()}-{plan.key[:8]}-{secrets.token_hex(8)}"
    try:
        _check_file(path)
        taken = _decode(path, spool, config, source, stop)
        _check_unchanged(path, source)
    except VideoError as error:
        spool.unlink(missing_ok=True)
        return Rejection(
            path=source.paths[0],
            digest_sha256=source.digest_sha256,
            reason=error.reason,
            detail=text_of(error.detail),
        )
    return taken


def _check_file(path: Path) -> None:
    """Refuse what must not be opened; the folder may have changed since the plan was made."""
    try:
        status = path.stat()
    except OSError as error:
        raise VideoError("vanished", error.strerror or str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError("not_regular", "it is not a regular file")
    if status.st_size == 0:
        raise VideoError("empty", "the file has no bytes")


def _check_unchanged(path: Path, source: Source) -> None:
    try:
        same = sha256_file(path) == source.digest_sha256
    except StorageError as error:
        raise VideoError("changed_during_read", error.message) from error
    if not same:
        raise VideoError("changed_during_read", "its bytes are not those that were there before decoding")


def _decode(path: Path, spool: Path, config: IngestConfig, source: Source, stop: threading.Event) -> _Taken:
    timeline = Timeline()
    digest = hashlib.sha256()
    decoder = Decoder(path, fps=config.fps, height=config.height, width=config.width)
    with storage_errors(spool, "writing"), open(spool, "xb") as file:
        for frame in decoder:
            if stop.is_set():
                raise VideoError("interrupted", "the ingest was stopped")
            file.write(frame.pixels_HWC.data)
            digest.update(frame.pixels_HWC.data)
            timeline.add(frame.cell, frame.seconds, frame.pixels_HWC)
    cutting = cut_windows(timeline, config)
    if not cutting.windows:
        raise VideoError(*why_no_clip(timeline, config))
    seconds = decoder.info.seconds or timeline.seconds[-1] + 1 / config.fps
    return _Taken(source, decoder.info, digest.hexdigest(), seconds, len(timeline.cells), cutting, spool)


def _write(
    folder: DatasetFolder,
    config: IngestConfig,
    plan: BatchPlan,
    taken: list[_Taken],
    rejections: list[Rejection],
    known: dict[str, Split],
) -> Batch:
    """Choose sides and write the shards; one video for each content, that of the lowest sha256."""
    by_content: dict[str, list[_Taken]] = {}
    for one in taken:
        by_content.setdefault(one.content, []).append(one)
    groups = {one.content: group_of(one.content, one.source.paths[0], config.group_by) for one in taken}
    labels_of: dict[str, set[str]] = {}
    for content, same in by_content.items():
        label = _label(plan, same[0].source, config)
        labels_of.setdefault(groups[content], set()).update([label] if label is not None else [])
    sides = split_groups(labels_of, config.heldout, known=known, ensure=plan.ensure_heldout)
    videos = [_video(same, groups[content], sides, plan, config) for content, same in by_content.items()]
    spools = {same[0].source.digest_sha256: same[0] for same in by_content.values()}
    splits: tuple[Split, ...] = ("heldout", "train")
    shards = [
        shard
        for split in splits
        for shard in write_shards(folder.shards, split, _samples(_of(videos, split), spools, config))
    ]
    return Batch(key=plan.key, videos=tuple(videos), rejections=tuple(rejections), shards=tuple(shards))


def _of(videos: Iterable[Video], split: Split) -> list[Video]:
    return [video for video in videos if video.split == split]


def _label(plan: BatchPlan, source: Source, config: IngestConfig) -> str | None:
    if config.labels == "none":
        return None
    return PurePosixPath(plan.root, source.paths[0]).parent.name


def _video(same: list[_Taken], group: str, sides: dict[str, Split], plan: BatchPlan, config: IngestConfig) -> Video:
    first = same[0]
    return Video(
        digest_sha256=first.source.digest_sha256,
        paths=tuple(sorted(path for one in same for path in one.source.paths)),
        copies=tuple(one.source.digest_sha256 for one in same[1:]),
        size_bytes=first.source.size_bytes,
        content=first.content,
        group=group,
        split=sides[group],
        label=_label(plan, first.source, config),
        codec=first.info.codec,
        width=first.info.width,
        height=first.info.height,
        fps=first.info.fps,
        seconds=round(first.seconds, 6),
        frames_decoded=first.info.frames_decoded,
        decode_errors=first.info.decode_errors,
        clips=len(first.cutting.windows),
        windows_cut=first.cutting.cut,
    )


def _samples(videos: list[Video], spools: dict[str, _Taken], config: IngestConfig) -> Iterator[Sample]:
    for video in videos:
        taken = spools[video.digest_sha256]
        shape = (taken.frames, config.height, config.width, 3)
        frames_NHWC = np.memmap(taken.spool, np.uint8, "r", shape=shape)
        for number, window in enumerate(taken.cutting.windows):
            clip_CTHW = clip_of(frames_NHWC, window, config.frames)
            about = {
                "video": video.digest_sha256,
                "source": video.paths[0],
                "start_seconds": round(window.seconds, 6),
                "fps": config.fps,
                "scene": window.scene,
                "label": video.label,
                "split": video.split,
                "statistics": clip_statistics(clip_CTHW),
            }
            yield Sample(f"{video.digest_sha256[:NAME_DIGITS]}-{number:05d}", clip_CTHW, about)
