"""What an ingest says of itself when it has ended."""

from __future__ import annotations

from collections import Counter

from ...records import REJECTIONS_SHOWN, Dataset, IngestReport, recipe
from ..manifest import plain_batches
from .making import Making
from .table import Arranged


def report_of_new(making: Making, arranged: Arranged, dataset: Dataset) -> IngestReport:
    """The report of a version that was put together."""
    return _report(making, dataset, near=arranged.near, new_clips=_new_clips(making, arranged))


def report_of_kept(making: Making) -> IngestReport:
    """The report of an ingest after which the origin is the current version, as it is."""
    assert making.origin
    return _report(making, making.origin, near=_read_unchanged(making), new_clips=0)


def _report(making: Making, dataset: Dataset, *, near: int, new_clips: int) -> IngestReport:
    current, plan = making.current, making.plan
    rejections = (*plan.rejections, *making.new_rejections, *making.old_rejections)
    return IngestReport(
        name=plan.name,
        manifest=str(making.folder.manifest),
        dataset_digest=dataset.digest(),
        number=dataset.number,
        unchanged=current is not None and current.digest() == dataset.digest(),
        videos_accepted=making.accepted,
        videos_rejected=len(plan.rejections) + len(making.new_rejections),
        videos_unchanged=plan.unchanged,
        videos_dropped=making.dropped,
        videos_relabelled=making.relabelled,
        near_duplicates=near,
        clips_train=dataset.clips("train"),
        clips_heldout=dataset.clips("heldout"),
        clips_new=new_clips,
        left_out=dict(sorted(making.left_out.items())),
        shards=len(dataset.shards),
        frames_decoded=making.frames,
        seconds=0.0,
        rejections=rejections[:REJECTIONS_SHOWN],
    )


def _new_clips(making: Making, arranged: Arranged) -> int:
    """Clips that the version before does not hold; of another recipe it holds none of these."""
    table = making.table
    before = making.current
    if before is None or recipe(before.config) != recipe(making.config):
        return sum(table.clips[row] for row in arranged.rows)
    new = (row for row in arranged.rows if not table.known[row] and table.digests[row] not in making.lost)
    return sum(table.clips[row] for row in new)


def _read_unchanged(making: Making) -> int:
    """Collect the rejections of a version that stays; returns how many of its videos have copies that look the same."""
    assert making.origin
    sizes: Counter[str] = Counter()
    for number, plain in enumerate(plain_batches(making.folder, making.origin)):
        making.keep_rejections(plain["rejections"])
        if making.config.group_by:  # the groups do not tell why they are groups
            for video in plain["videos"]:
                making.add(video, number)
        else:
            sizes.update(video["group"] for video in plain["videos"])
    if making.config.group_by:
        return making.table.arrange(making.config.heldout).near
    return sum(size for size in sizes.values() if size > 1)
