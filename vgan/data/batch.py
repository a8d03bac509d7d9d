"""One batch of videos: decode them in the pool, write their clips into shards, and the record that commits it.

A bad video never fails a batch: it is rejected with a reason. What a batch writes depends on its plan alone, not on
what else is in the dataset or on the number of workers: the sides of its videos are provisional, and `commit`
moves those that belong elsewhere. Payloads wait in spool files that the workers write, so that memory does not
grow with the length of the videos; shards are written while later videos are still being decoded.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import IngestConfig
from ..progress import Progress, silent
from ..records import Batch, Record, Rejection, Shard, Split, Video
from ..storage import fault_point, read_bytes, storage_errors, write_atomic
from ..workspace import DatasetFolder, Workspace
from .locate import Locate, locator
from .manifest import shard_problems
from .names import text_of
from .plan import BatchPlan, PlannedBatch, Source, read_batch_plan
from .pool import DecoderPool, shared_pool
from .revise import rewrite_batch
from .shards import NAME_DIGITS, Sample, write_shards
from .split import named_groups, side_of
from .taken import Refused, TakenClip, TakenVideo, TakeRequest


class BatchDone(Record):
    """What a caller needs to know of a finished batch; its record waits under pending/."""

    key: str
    accepted: int  # videos, every name counted
    rejected: int
    frames_decoded: int


@dataclass(frozen=True)
class _Outcome:
    """A source, what became of it, and where its payloads wait."""

    source: Source
    answer: TakenVideo | Refused
    spool: Path


@dataclass
class _Work:
    """What is being put together; the first video of a content is stored, later ones are its copies."""

    videos: dict[str, Video] = field(default_factory=dict[str, Video])  # by content
    rejections: list[Rejection] = field(default_factory=list[Rejection])
    late: list[_Outcome] = field(default_factory=list[_Outcome])  # replaced files: out of order
    heldout: list[tuple[Video, _Outcome]] = field(default_factory=list[tuple[Video, _Outcome]])


def ingest_batch(
    workspace: Workspace,
    name: str,
    config: IngestConfig,
    place: PlannedBatch,
    *,
    pool: DecoderPool | None = None,
    progress: Progress = silent,
) -> BatchDone:
    """Do one batch of a plan, or find it done: a record whose shards are sound is left as it is.

    Args:
        workspace: where the dataset lies.
        name: of the dataset.
        config: the config that the plan was made with.
        place: one of `IngestPlan.batches`.
        pool: decodes; None takes the one of this process with `config.workers` workers.
        progress: told after each video.

    Raises:
        ResumableError: another plan has taken the place of this one.
        StorageError: shards cannot be written.
    """
    folder = workspace.dataset(name)
    if done := finished_batch(folder, place.key):
        progress(place.videos, place.videos, "done before")
        return _done(done)
    plan = read_batch_plan(folder, place)
    with storage_errors(folder.shards, "creating"):
        folder.shards.mkdir(parents=True, exist_ok=True)
    with nullcontext(pool) if pool else shared_pool(config.workers) as decoders:
        batch = _decode_and_write(workspace, folder, config, plan, decoders, progress)
    fault_point("before_batch")
    write_atomic(folder.pending(plan.key), batch.to_json())
    return _done(batch)


def finished_batch(folder: DatasetFolder, key: str) -> Batch | None:
    """The batch that waits for its commit; None when it is not there or not all of its shards are sound."""
    path = folder.pending(key)
    if not path.exists():
        return None
    batch = Batch.from_json(read_bytes(path), str(path))
    sound = not any(shard_problems(folder.shards / shard.file, shard) for shard in batch.shards)
    return batch if sound and batch.key == key else None


def _done(batch: Batch) -> BatchDone:
    return BatchDone(
        key=batch.key,
        accepted=sum(len(video.paths) for video in batch.videos),
        rejected=len(batch.rejections),
        frames_decoded=sum(video.frames_decoded for video in batch.videos),
    )


def _decode_and_write(
    workspace: Workspace,
    folder: DatasetFolder,
    config: IngestConfig,
    plan: BatchPlan,
    pool: DecoderPool,
    progress: Progress,
) -> Batch:
    work = _Work()
    try:
        with _outcomes(workspace, folder, config, plan, pool, progress) as outcomes:
            shards = write_shards(folder.shards, "train", _training_samples(work, outcomes, config))
        fault_point("after_shard_rename")
        shards = [*write_shards(folder.shards, "heldout", _waiting_samples(work, config)), *shards]
        shards += _late_shards(folder, work, config)
    finally:
        for path in folder.shards.glob(f".tmp-{os.getpid()}-{plan.key[:8]}-*"):
            path.unlink(missing_ok=True)
    videos = tuple(sorted(work.videos.values(), key=lambda video: video.digest_sha256))
    batch = Batch(key=plan.key, videos=videos, rejections=tuple(work.rejections), shards=tuple(shards))
    return rewrite_batch(folder, batch, {"heldout", "train"}) if work.late else batch


@contextmanager
def _outcomes(
    workspace: Workspace,
    folder: DatasetFolder,
    config: IngestConfig,
    plan: BatchPlan,
    pool: DecoderPool,
    progress: Progress,
) -> Generator[Iterator[_Outcome]]:
    """Outcomes in the order of the plan's sources, whatever the order of work, as they become ready."""
    locate = locator(workspace, plan.root)

    def take(source: Source) -> _Outcome:
        spool = folder.shards / f".tmp-{os.getpid()}-{plan.key[:8]}-{secrets.token_hex(8)}"
        return _take(pool, locate, config, source, spool)

    threads = ThreadPoolExecutor(pool.workers, thread_name_prefix="take")
    try:
        yield _in_order([threads.submit(take, source) for source in plan.sources], progress)
    except BaseException:
        # Not waited for: a video may take half an hour. Whoever owns the pool closes it, which ends them.
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    threads.shutdown()


def _take(pool: DecoderPool, locate: Locate, config: IngestConfig, source: Source, spool: Path) -> _Outcome:
    with locate(source) as found:
        if isinstance(found, Refused):
            return _Outcome(source, found, spool)
        request = TakeRequest(
            path=text_of(os.fspath(found)),
            digest_sha256=source.digest_sha256,
            spool=text_of(os.fspath(spool)),
            config=config,
        )
        return _Outcome(source, pool.take(request), spool)


def _in_order(futures: list[Future[_Outcome]], progress: Progress) -> Iterator[_Outcome]:
    pending = set(futures)
    for future in futures:
        while future in pending:
            _, pending = wait(pending, return_when=FIRST_COMPLETED)
            progress(len(futures) - len(pending), len(futures), "decoding")
        yield future.result()


def _training_samples(work: _Work, outcomes: Iterator[_Outcome], config: IngestConfig) -> Iterator[Sample]:
    """Samples of the training side as their videos become ready; what belongs to the other waits."""
    for outcome in outcomes:
        if isinstance(outcome.answer, Refused):
            work.rejections.append(_rejection(outcome.source, outcome.answer))
            outcome.spool.unlink(missing_ok=True)
        elif outcome.answer.digest_sha256 != outcome.source.digest_sha256:
            work.late.append(outcome)
        elif video := _new_video(work, outcome, config):
            if video.split == "heldout":
                work.heldout.append((video, outcome))
            else:
                yield from _samples(video, outcome, config)


def _waiting_samples(work: _Work, config: IngestConfig) -> Iterator[Sample]:
    for video, outcome in work.heldout:
        yield from _samples(video, outcome, config)


def _late_shards(folder: DatasetFolder, work: _Work, config: IngestConfig) -> list[Shard]:
    """Shards of the files that were replaced after the plan was made, whose place in the order nobody knew."""
    shards: list[Shard] = []
    for outcome in work.late:
        if video := _new_video(work, outcome, config):
            shards += write_shards(folder.shards, video.split, _samples(video, outcome, config))
    return shards


def _rejection(source: Source, refused: Refused) -> Rejection:
    digest = None if refused.again else source.digest_sha256
    return Rejection(path=source.paths[0], digest_sha256=digest, reason=refused.reason, detail=refused.detail)


def _new_video(work: _Work, outcome: _Outcome, config: IngestConfig) -> Video | None:
    """The record of a video that is to be stored; None for a copy, whose names the stored one gets."""
    source, taken = outcome.source, outcome.answer
    assert isinstance(taken, TakenVideo)
    if stored := work.videos.get(taken.content):
        work.videos[taken.content] = with_copy(stored, taken.digest_sha256, source.paths)
        outcome.spool.unlink(missing_ok=True)
        return None
    group = next(iter(named_groups(source.paths, config.group_by)), taken.content)
    video = _video(source, taken, group, side_of(group, config.heldout))
    work.videos[taken.content] = video
    return video


def with_copy(video: Video, digest: str, paths: tuple[str, ...], copies: tuple[str, ...] = ()) -> Video:
    """The record of a video of which another copy, with these names and copies of its own, was found."""
    others = {*video.copies, digest, *copies} - {video.digest_sha256}
    names = {*video.paths, *paths}
    return video.model_copy(update={"paths": tuple(sorted(names)), "copies": tuple(sorted(others))})


def _video(source: Source, taken: TakenVideo, group: str, split: Split) -> Video:
    motion = sum(clip.statistics["motion"] for clip in taken.clips) / len(taken.clips)
    return Video(
        digest_sha256=taken.digest_sha256,
        paths=source.paths,
        copies=(),
        size_bytes=taken.size_bytes,
        content=taken.content,
        fingerprint=taken.fingerprint,
        group=group,
        split=split,
        label=source.label,
        licence=source.licence,
        consent=source.consent,
        marks=taken.marks,
        codec=taken.codec,
        width=taken.width,
        height=taken.height,
        fps=taken.fps,
        seconds=taken.seconds,
        colour=taken.colour,
        treatment=taken.treatment,
        frames_decoded=taken.frames_decoded,
        decode_errors=taken.decode_errors,
        clips=len(taken.clips),
        motion=round(motion, 3),
        left_out=taken.left_out,
    )


def _samples(video: Video, outcome: _Outcome, config: IngestConfig) -> Iterator[Sample]:
    """Samples of one video out of its spool, which is then removed; a payload lasts until the next is asked for."""
    taken = outcome.answer
    assert isinstance(taken, TakenVideo)
    buffer = bytearray(max(clip.size for clip in taken.clips))
    with storage_errors(outcome.spool, "reading"), open(outcome.spool, "rb", buffering=0) as file:
        for number, clip in enumerate(taken.clips):
            payload = memoryview(buffer)[: clip.size]
            file.seek(clip.offset)
            if file.readinto(payload) != clip.size:
                raise OSError(f"it ends inside clip {number}")
            key = f"{video.digest_sha256[:NAME_DIGITS]}-{number:05d}"
            yield Sample(key, config.stored_format, payload, _about(video, outcome.source, clip, config))
    outcome.spool.unlink(missing_ok=True)


def _about(video: Video, source: Source, clip: TakenClip, config: IngestConfig) -> dict[str, Any]:
    """What a shard says of a clip; of the video's names the first under which it was taken, whatever comes later."""
    return {
        "video": video.digest_sha256,
        "source": source.paths[0],
        "start_seconds": clip.start_seconds,
        "fps": config.fps,
        "scene": clip.scene,
        "label": video.label,
        "split": video.split,
        "statistics": clip.statistics,
    }
