"""Another version of a batch without decoding: clips are copied from its shards into new ones.

What comes out is, byte for byte, what would have been written if the videos had been so from the beginning.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from ...errors import CorruptDataError
from ...records import Batch, Shard, Split, Video
from ...storage import storage_errors
from ...workspace import DatasetFolder
from ..shards.formats import Kind
from ..shards.tar_index import Member, corrupt, index_shard
from ..shards.writer import NAME_DIGITS, Sample, write_shards

SPLITS: tuple[Split, ...] = ("heldout", "train")  # in the order of a batch's shards


@dataclass(frozen=True)
class _Stored:
    """One clip as it lies in a shard now."""

    path: Path
    about: Member
    payload: Member


def revise_batch(folder: DatasetFolder, batch: Batch, changes: Mapping[str, Video | None]) -> Batch:
    """A batch with other records for some of its videos; shards are written where clips come, go or change.

    Args:
        folder: of the dataset; the batch's shards lie in it, and stay.
        batch: as it is.
        changes: digest of a video of the batch -> its new record, or None for a video that leaves. Only names,
            copies, group, label, licence, consent and side may differ.

    Raises:
        CorruptDataError: a shard is not what the batch says.
        StorageError: shards cannot be read or written.
    """
    before = {video.digest_sha256: video for video in batch.videos}
    after = {digest: changes.get(digest, video) for digest, video in before.items()}
    affected: set[Split] = set()
    for digest, video in before.items():
        new = after[digest]
        if new is None or new.split != video.split or new.label != video.label:
            affected |= {video.split} if new is None else {video.split, new.split}
    videos = tuple(video for video in after.values() if video)
    return rewrite_batch(folder, batch.model_copy(update={"videos": videos}), affected)


def rewrite_batch(folder: DatasetFolder, batch: Batch, splits: Collection[Split]) -> Batch:
    """Write the shards of some splits anew, as the records of the videos ask for; the others' stay."""
    if not splits:
        return batch
    stored = _stored_clips(folder, batch.shards)
    shards: list[Shard] = []
    for split in SPLITS:
        if split in splits:
            videos = [video for video in batch.videos if video.split == split]
            shards += write_shards(folder.shards, split, _samples(folder, videos, stored))
        else:
            shards += [shard for shard in batch.shards if shard.split == split]
    revised = batch.model_copy(update={"shards": tuple(shards)})
    check_counts(revised)
    return revised


def check_counts(batch: Batch) -> None:
    """Raise CorruptDataError unless the shards of each side hold as many clips as the videos of that side have."""
    for split in SPLITS:
        clips = sum(video.clips for video in batch.videos if video.split == split)
        samples = sum(shard.samples for shard in batch.shards if shard.split == split)
        if clips != samples:
            raise CorruptDataError(
                f"the {split} shards of batch {batch.key[:12]} hold {samples} clips, its videos have {clips}.",
                hint="Ingest under another name, and report this.",
            )


def _stored_clips(folder: DatasetFolder, shards: Collection[Shard]) -> dict[str, _Stored]:
    found: dict[str, _Stored] = {}
    for shard in shards:
        path = folder.shards / shard.file
        members = index_shard(path)
        for about, payload in zip(members[::2], members[1::2], strict=True):
            found[about.key] = _Stored(path, about, payload)
    return found


def _samples(folder: DatasetFolder, videos: list[Video], stored: Mapping[str, _Stored]) -> Iterator[Sample]:
    """Samples in canonical order; each payload lasts until the next is asked for."""
    opened: dict[Path, IO[bytes]] = {}
    try:
        for video in videos:
            for number in range(video.clips):
                clip = stored.get(key := f"{video.digest_sha256[:NAME_DIGITS]}-{number:05d}")
                if clip is None:
                    raise corrupt(folder.shards, f"clip {key} is in none of its batch's shards")
                if clip.path not in opened:
                    opened[clip.path] = open(clip.path, "rb", buffering=0)  # noqa: SIM115 closed below
                yield _sample(opened[clip.path], clip, video)
    finally:
        for file in opened.values():
            file.close()


def _sample(file: IO[bytes], clip: _Stored, video: Video) -> Sample:
    about = json.loads(_read(file, clip.path, clip.about)) | {"label": video.label, "split": video.split}
    return Sample(clip.payload.key, cast(Kind, clip.payload.kind), _read(file, clip.path, clip.payload), about)


def _read(file: IO[bytes], path: Path, member: Member) -> bytes:
    with storage_errors(path, "reading"):
        file.seek(member.offset)
        content = file.read(member.size)
    if len(content) != member.size:
        raise corrupt(path, f"it ends inside {member.key}.{member.kind}")
    return content
