"""One batch of videos: decode them in the pool, write their clips into shards, and the record that commits it.

A bad video never fails a batch: it is rejected with a reason. What a batch writes depends on its plan alone, not on
what else is in the dataset or on the number of workers: the sides of its videos are provisional, and `commit`
moves those that belong elsewhere. Payloads wait in spool files that the workers write, so that memory does not
grow with the length of the videos; shards are written while later videos are still being decoded.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from ...config import IngestConfig
from ...progress import Progress, silent
from ...records import Batch, Record, Rejection, Shard, Video
from ...storage import fault_point, storage_errors, temporary_prefix, write_atomic
from ...workspace import DatasetFolder, Workspace
from ..decoding.pool import DecoderPool, shared_pool
from ..decoding.taken import Refused, TakenVideo, TakeRequest
from ..files.names import text_of
from ..planning.plan import BatchPlan, PlannedBatch, Source, read_batch_plan
from ..shards.writer import Sample, write_shards
from .locate import Locate, locator
from .pending import finished_batch
from .revise import rewrite_batch
from .split import named_groups, side_of
from .spool import Outcome, samples_of
from .video_record import video_of, with_copy


class BatchDone(Record):
    """What a caller needs to know of a finished batch; its record waits under pending/."""

    key: str
    accepted: int  # files: every name of a video counts
    rejected: int  # files
    frames_decoded: int


@dataclass(frozen=True)
class _Job:
    """What is to be done, and with what."""

    workspace: Workspace
    folder: DatasetFolder
    config: IngestConfig
    plan: BatchPlan
    pool: DecoderPool
    progress: Progress

    @property
    def spool_prefix(self) -> str:
        """What the names of this batch's spools begin with, so that they can be told from another's."""
        return f"{temporary_prefix()}{self.plan.key[:8]}-"


@dataclass
class _Work:
    """What is being put together; the first video of a content is stored, later ones are its copies."""

    videos: dict[str, Video] = field(default_factory=dict[str, Video])  # by content
    rejections: list[Rejection] = field(default_factory=list[Rejection])
    late: list[Outcome] = field(default_factory=list[Outcome])  # replaced files: out of order
    heldout: list[tuple[Video, Outcome]] = field(default_factory=list[tuple[Video, Outcome]])


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
        batch = _decode_and_write(_Job(workspace, folder, config, plan, decoders, progress))
    fault_point("before_batch")
    write_atomic(folder.pending(plan.key), batch.to_json())
    return _done(batch)


def _done(batch: Batch) -> BatchDone:
    return BatchDone(
        key=batch.key,
        accepted=sum(len(video.paths) for video in batch.videos),
        rejected=len(batch.rejections),
        frames_decoded=sum(video.frames_decoded for video in batch.videos),
    )


def _decode_and_write(job: _Job) -> Batch:
    work, place, config = _Work(), job.folder.shards, job.config
    try:
        with _outcomes(job) as outcomes:
            shards = write_shards(place, "train", _training_samples(work, outcomes, config))
        fault_point("after_shard_rename")
        shards = [*write_shards(place, "heldout", _waiting_samples(work, config)), *shards]
        shards += _late_shards(job.folder, work, config)
    finally:
        for path in place.glob(f"{job.spool_prefix}*"):
            path.unlink(missing_ok=True)
    videos = tuple(sorted(work.videos.values(), key=lambda video: video.digest_sha256))
    batch = Batch(key=job.plan.key, videos=videos, rejections=tuple(work.rejections), shards=tuple(shards))
    return rewrite_batch(job.folder, batch, {"heldout", "train"}) if work.late else batch


@contextmanager
def _outcomes(job: _Job) -> Generator[Iterator[Outcome]]:
    """Outcomes in the order of the plan's sources, whatever the order of work, as they become ready."""
    locate = locator(job.workspace, job.plan.root)
    given_up = threading.Event()

    def take(source: Source) -> Outcome:
        outcome = _take(job, locate, source)
        if given_up.is_set():
            outcome.spool.unlink(missing_ok=True)
        return outcome

    threads = ThreadPoolExecutor(job.pool.workers, thread_name_prefix="take")
    try:
        yield _in_order([threads.submit(take, source) for source in job.plan.sources], job.progress)
    except BaseException:
        given_up.set()
        # Not waited for: a video may take half an hour. Whoever owns the pool closes it, which ends them.
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    threads.shutdown()


def _take(job: _Job, locate: Locate, source: Source) -> Outcome:
    spool = job.folder.shards / f"{job.spool_prefix}{secrets.token_hex(8)}"
    with locate(source) as found:
        if isinstance(found, Refused):
            return Outcome(source, found, spool)
        request = TakeRequest(
            path=text_of(os.fspath(found)),
            digest_sha256=source.digest_sha256,
            spool=text_of(os.fspath(spool)),
            config=job.config,
        )
        return Outcome(source, job.pool.take(request), spool)


def _in_order(futures: list[Future[Outcome]], progress: Progress) -> Iterator[Outcome]:
    pending = set(futures)
    for future in futures:
        while future in pending:
            _, pending = wait(pending, return_when=FIRST_COMPLETED)
            progress(len(futures) - len(pending), len(futures), "decoding")
        yield future.result()


def _training_samples(work: _Work, outcomes: Iterator[Outcome], config: IngestConfig) -> Iterator[Sample]:
    """Samples of the training side as their videos become ready; what belongs to the other waits."""
    for outcome in outcomes:
        if isinstance(outcome.answer, Refused):
            work.rejections += _rejections(outcome.source, outcome.answer)
            outcome.spool.unlink(missing_ok=True)
        elif outcome.answer.digest_sha256 != outcome.source.digest_sha256:
            work.late.append(outcome)
        elif video := _new_video(work, outcome, config):
            if video.split == "heldout":
                work.heldout.append((video, outcome))
            else:
                yield from samples_of(video, outcome, config)


def _waiting_samples(work: _Work, config: IngestConfig) -> Iterator[Sample]:
    for video, outcome in work.heldout:
        yield from samples_of(video, outcome, config)


def _late_shards(folder: DatasetFolder, work: _Work, config: IngestConfig) -> list[Shard]:
    """Shards of the files that were replaced after the plan was made, whose place in the order nobody knew."""
    shards: list[Shard] = []
    for outcome in work.late:
        if video := _new_video(work, outcome, config):
            shards += write_shards(folder.shards, video.split, samples_of(video, outcome, config))
    return shards


def _rejections(source: Source, refused: Refused) -> list[Rejection]:
    """One for each name of the content, so that files can be counted."""
    digest = None if refused.again else source.digest_sha256
    return [
        Rejection(path=path, digest_sha256=digest, reason=refused.reason, detail=refused.detail)
        for path in source.paths
    ]


def _new_video(work: _Work, outcome: Outcome, config: IngestConfig) -> Video | None:
    """The record of a video that is to be stored; None for a copy, whose names the stored one gets."""
    source, taken = outcome.source, outcome.answer
    assert isinstance(taken, TakenVideo)
    if stored := work.videos.get(taken.content):
        work.videos[taken.content] = with_copy(stored, taken.digest_sha256, source.paths)
        outcome.spool.unlink(missing_ok=True)
        return None
    group = next(iter(named_groups(source.paths, config.group_by)), taken.content)
    video = video_of(source, taken, group, side_of(group, config.heldout))
    work.videos[taken.content] = video
    return video
