"""Putting a version together: batches in which something changes are written anew, then all become a manifest's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from ...config import NOT_OF_CONTENT, IngestConfig
from ...records import Batch, BatchRef, Dataset, Video
from ...workspace import DatasetFolder
from ..batches.revise import check_counts, revise_batch
from ..batches.video_record import as_said, with_copy
from ..buckets.published import ensure_local
from ..manifest import kept_versions, new_version, write_batch
from .making import Making
from .table import Arranged


def assemble(making: Making, arranged: Arranged) -> Dataset:
    """Write the batches that change and those that are new; returns the version that all make together."""
    rows_of: dict[int, list[int]] = {}
    for place, row in enumerate(arranged.rows):
        rows_of.setdefault(making.table.batches[row], []).append(place)
    copies = _copies(making, arranged)
    refs: list[BatchRef] = []
    for number in range(len(making.kept) + len(making.plan.batches)):
        places = rows_of.get(number, [])
        if number < len(making.kept):
            ref = making.kept[number]
            if not _differs(making, arranged, number, places):
                refs.append(ref)
                continue
            assert making.origin
            ensure_local(making.workspace, making.origin, shards=ref.shards)
        refs += _revised(making, arranged, making.batch(number), places, copies)
    labels = {label for row in arranged.rows if (label := making.table.labels[row]) is not None}
    dataset = new_version(making.plan.name, 1, content_config(making.config), labels, refs)
    return dataset.model_copy(update={"number": _number(making.folder, dataset)})


def _copies(making: Making, arranged: Arranged) -> dict[str, list[Video]]:
    """Records of videos that another stands for, by the digest of the other."""
    table = making.table
    wanted: dict[int, dict[str, str]] = {}  # batch -> digest of the copy -> digest of the one that stays
    for row, others in arranged.copies.items():
        for other in others:
            wanted.setdefault(table.batches[other], {})[table.digests[other]] = table.digests[row]
    found: dict[str, list[Video]] = {}
    for number, stays in sorted(wanted.items()):
        for video in making.batch(number).videos:
            if digest := stays.get(video.digest_sha256):
                found.setdefault(digest, []).append(as_said(video, making.edits.get(video.digest_sha256)))
    return found


def _differs(making: Making, arranged: Arranged, number: int, places: list[int]) -> bool:
    """Whether anything in a kept batch is not as its record says."""
    table = making.table
    if len(places) != making.kept[number].videos:
        return True
    for place in places:
        row, group = arranged.rows[place], arranged.groups[place]
        if table.groups[row] != group or table.splits[row] != arranged.sides[group]:
            return True
        if row in arranged.copies or table.digests[row] in making.edits:
            return True
    return False


def _revised(
    making: Making, arranged: Arranged, batch: Batch, places: list[int], copies: Mapping[str, list[Video]]
) -> list[BatchRef]:
    """The batch as it belongs into the version, written; [] when nothing of it is left."""
    stays = {making.table.digests[arranged.rows[place]]: arranged.groups[place] for place in places}
    changes: dict[str, Video | None] = {}
    for video in batch.videos:
        group = stays.get(digest := video.digest_sha256)
        if group is None:
            changes[digest] = None
            continue
        new = as_said(video, making.edits.get(digest))
        new = new.model_copy(update={"group": group, "split": arranged.sides[group]})
        for copy in copies.get(digest, ()):
            new = with_copy(new, copy.digest_sha256, copy.paths, copy.copies)
        changes[digest] = new
    revised = revise_batch(making.folder, batch, changes)
    check_counts(revised)
    if not revised.videos and not revised.rejections:
        return []
    return [write_batch(making.folder, revised)]


def content_config(config: IngestConfig) -> IngestConfig:
    """The config as a version keeps it: without what has no influence on the clips, and without paths."""
    fields = config.model_dump(exclude=NOT_OF_CONTENT)
    if config.sidecar is not None and config.labels == "sidecar":  # the labels need its name, not its place
        fields["sidecar"] = PurePath(config.sidecar).name
    return IngestConfig(**fields)


def _number(folder: DatasetFolder, dataset: Dataset) -> int:
    """The number that a version with these clips has, or one above the highest."""
    numbers = {version.digest(): version.number for version in kept_versions(folder)}
    return numbers.get(dataset.digest()) or max(numbers.values(), default=0) + 1
